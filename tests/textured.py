"""A drawn image of rough material."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIZE = 96


def textured(seed: int) -> NDArray[np.float32]:
    """(3, SIZE, SIZE) in 0.2..0.8: a coarse pattern with grain."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.zoom(rng.uniform(0.3, 0.7, (3, 8, 8)), (1, SIZE / 8, SIZE / 8), order=1)
    grained = coarse + rng.uniform(-0.1, 0.1, (3, SIZE, SIZE))
    return grained.astype(np.float32)
