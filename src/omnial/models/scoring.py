"""From logits to a score per pixel, and from a score map to one score per image.

The rule of the image score stands here twice: in PyTorch for training, exported graphs and
attacks, and in NumPy for maps that are put together and for computers without PyTorch, which is
imported only where it is used.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from omnial.config.settings import ImageScore

if TYPE_CHECKING:
    from torch import Tensor

ONE_IN = 500
"""One in so many pixels counts as highest: 0.2 %, 132 of 256x256. [O]"""
WINDOW_AT_256 = 21
"""Edge of the mean filter in pixels where the shorter side of the map has 256. [O, DRAEM]"""


def highest_count(pixels: int) -> int:
    """Number of highest pixels among so many: 0.2 %, rounded up."""
    return -(-pixels // ONE_IN)


def window_size(height: int, width: int) -> int:
    """Edge of the mean filter for a map of height x width: odd, at least 1.

    The odd number nearest to 21 * min(height, width) / 256.
    """
    return 2 * (WINDOW_AT_256 * min(height, width) // 512) + 1


def score_map(logits: "Tensor") -> "Tensor":
    """Probability of each pixel to be anomalous: the softmax of channel 1, in float32.

    From (B, 2, H, W) of any floating dtype, normal and anomalous, to (B, H, W) in [0, 1].
    """
    if logits.ndim != 4 or logits.shape[1] != 2:
        raise ValueError(f"logits must be (B, 2, H, W), not {tuple(logits.shape)}")
    return logits.float().softmax(dim=1)[:, 1].contiguous()


def image_score(
    maps: "Tensor", valid: "Tensor | None" = None, rule: ImageScore = "top_mean"
) -> "Tensor":
    """One score per image, in PyTorch.

    - `top_mean`: the mean of the highest 0.2 % of the pixels, rounded up to whole pixels. A thin
      scratch counts as much as a compact spot of the same area.
    - `window_maximum`: the maximum of the mean-filtered map, as in DRAEM. A window that reaches
      over the border of the map, or of the valid region, averages the pixels inside alone, so
      that a defect at the border counts as much as one in the middle.

    From (B, H, W) maps in [0, 1] to (B,) float32 in [0, 1]; 0 for an image without a valid pixel.
    `valid` is (B, H, W) bool, True where scores count, None everywhere. Pixels outside add nothing:
    they are neither among the highest nor among those counted.

    Raises:
        ValueError: The maps are not (B, H, W), or `valid` has another shape.
    """
    import torch

    if maps.ndim != 3:
        raise ValueError(f"maps must be (B, H, W), not {tuple(maps.shape)}")
    if valid is not None and valid.shape != maps.shape:
        raise ValueError(f"valid is {tuple(valid.shape)}, the maps are {tuple(maps.shape)}")
    inside = torch.ones_like(maps, dtype=torch.bool) if valid is None else valid.bool()
    if rule == "window_maximum":
        return window_means(maps.float(), inside).amax(dim=(1, 2)).clamp_min(0.0)
    most = highest_count(maps.shape[1] * maps.shape[2])
    highest = torch.where(inside, maps.float(), 0.0).flatten(1).topk(most, 1).values
    # Rounded up, in whole numbers: what is counted must not depend on a float's rounding.
    counts = (inside.flatten(1).sum(1) + (ONE_IN - 1)).div(ONE_IN, rounding_mode="floor")
    taken = torch.arange(most, device=maps.device) < counts[:, None]
    return torch.where(taken, highest, 0.0).sum(1) / counts.clamp_min(1)


def window_means(values: "Tensor", valid: "Tensor") -> "Tensor":
    """Mean over a window around each pixel, of the valid pixels alone, differentiable.

    Values, valid and result are (B, H, W); it is -inf around a pixel that is not valid itself.
    """
    import torch
    import torch.nn.functional as F

    window = window_size(values.shape[1], values.shape[2])

    def mean_filter(maps: "Tensor") -> "Tensor":
        half = window // 2  # one axis after the other
        rows = F.avg_pool2d(maps[:, None], (window, 1), 1, (half, 0), count_include_pad=False)
        return F.avg_pool2d(rows, (1, window), 1, (0, half), count_include_pad=False)[:, 0]

    inside, share = mean_filter(torch.where(valid, values, 0.0)), mean_filter(valid.float())
    means = inside / share.clamp_min(torch.finfo(share.dtype).tiny)
    return torch.where(valid, means, -torch.inf)


def image_scores(
    maps: NDArray[np.float32], valid: NDArray[np.bool_], rule: ImageScore
) -> NDArray[np.float64]:
    """One score per image by the rule of `image_score`, in NumPy.

    From (B, H, W) maps in [0, 1], which are 0 outside the valid region, to (B,) scores; 0 for an
    image without a valid pixel.
    """
    if rule == "top_mean":
        scores = np.zeros(len(maps))
        for index, (score_map, inside) in enumerate(zip(maps, valid, strict=True)):
            values = score_map[inside]
            if values.size:
                count = highest_count(values.size)
                scores[index] = np.partition(values, -count)[-count:].mean(dtype=np.float64)
        return scores
    # A mean over the valid pixels of a window is the sum of their scores over their number; the
    # filter's own divisor, the window's area, cancels.
    window = window_size(maps.shape[1], maps.shape[2])
    size = (1, window, window)
    sums = uniform_filter(maps.astype(np.float64), size, mode="constant")
    share = uniform_filter(valid.astype(np.float64), size, mode="constant")
    means = np.divide(sums, share, out=np.zeros_like(sums), where=valid)
    maxima: NDArray[np.float64] = means.max(axis=(1, 2)).clip(0.0, 1.0)
    return maxima
