"""From score maps to image scores in NumPy: for engines without PyTorch, and for maps put together.

`omnial.models.scoring` is the same in PyTorch.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from omnial.config.settings import ImageScore
from omnial.models.score_size import highest_count, window_size


def image_scores(
    maps: NDArray[np.float32], valid: NDArray[np.bool_], rule: ImageScore
) -> NDArray[np.float64]:
    """One score per image, as `omnial.models.scoring.image_score` defines it, in NumPy.

    Args:
        maps: (B, H, W) scores in [0, 1], 0 outside the valid region.
        valid: (B, H, W).
        rule: From score map to score.

    Returns:
        (B,); 0 for an image without a valid pixel.
    """
    if rule == "top_mean":
        pairs = zip(maps, valid, strict=True)
        return np.array([_top_mean(values[inside]) for values, inside in pairs], np.float64)
    return _window_maxima(maps, valid)


def _top_mean(values: NDArray[np.float32]) -> float:
    if not values.size:
        return 0.0
    count = highest_count(values.size)
    return float(np.partition(values, -count)[-count:].mean(dtype=np.float64))


def _window_maxima(maps: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    # A mean over the valid pixels of a window is the sum of their scores over their number; the
    # filter's own divisor, the window's area, cancels.
    window = window_size(maps.shape[1], maps.shape[2])
    size = (1, window, window)
    sums = uniform_filter(maps.astype(np.float64), size, mode="constant")
    share = uniform_filter(valid.astype(np.float64), size, mode="constant")
    means = np.divide(sums, share, out=np.zeros_like(sums), where=valid)
    scores: NDArray[np.float64] = means.max(axis=(1, 2)).clip(0.0, 1.0)
    return scores
