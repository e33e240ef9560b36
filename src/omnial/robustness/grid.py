"""Images on a grid of 16 bits: the form in which samples and perturbations are kept.

A grey level of 8 bits is 257 steps of this grid, exactly, so 8-bit images lie on it, a radius of
1/255 is 257 steps, and rounding changes a perturbation by half a step at most: 1/514 of the
smallest radius. Division of whole numbers is exact to the last bit everywhere, so that a set
made on one machine gives the same network input on another.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

STEPS: Final = 65535
"""Steps from black to white."""
PER_GREY_LEVEL: Final = STEPS // 255


def to_grid(images: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round images in [0, 1] to the grid; any shape."""
    return np.rint(np.clip(images.astype(np.float64), 0.0, 1.0) * STEPS).astype(np.uint16)


def from_grid(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Values of the grid as float32 in [0, 1]; any shape."""
    return values.astype(np.float32) / np.float32(STEPS)


def difference(
    attacked: NDArray[np.float32], clean: NDArray[np.uint16], grey_levels: float
) -> NDArray[np.int16]:
    """The perturbation in steps of the grid, still inside its ball.

    Args:
        attacked: Images in [0, 1].
        clean: The same images before the attack, of the same shape.
        grey_levels: Radius of the ball in 1/255, at most 127.
    """
    bound = round(grey_levels * PER_GREY_LEVEL)
    steps = to_grid(attacked).astype(np.int32) - clean.astype(np.int32)
    # Between the clean value and a value of the grid, so the sum stays on the grid.
    return np.clip(steps, -bound, bound).astype(np.int16)


def add(clean: NDArray[np.uint16], steps: NDArray[np.int16]) -> NDArray[np.float32]:
    """The attacked images, float32 in [0, 1]."""
    return from_grid((clean.astype(np.int32) + steps).astype(np.uint16))
