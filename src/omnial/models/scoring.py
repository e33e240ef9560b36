"""From logits to a score per pixel, and from a score map to one score per image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from omnial.models.window import window_size


def score_map(logits: Tensor) -> Tensor:
    """Probability of each pixel to be anomalous: the softmax of channel 1, in float32.

    Args:
        logits: (B, 2, H, W), any floating dtype; channel 0 is normal, channel 1 anomalous.

    Returns:
        (B, H, W) float32 in [0, 1].

    Raises:
        ValueError: The logits do not have two channels.
    """
    if logits.ndim != 4 or logits.shape[1] != 2:
        raise ValueError(f"logits must be (B, 2, H, W), not {tuple(logits.shape)}")
    return torch.softmax(logits.float(), dim=1)[:, 1].contiguous()


def image_score(maps: Tensor, valid: Tensor | None = None) -> Tensor:
    """One score per image: the maximum of the mean-filtered score map.

    A window that reaches over the border of the map, or of the valid region, averages the
    pixels inside alone, so that a defect at the border counts as much as one in the middle.

    Args:
        maps: (B, H, W) scores in [0, 1].
        valid: (B, H, W) bool, True where scores count; None is everywhere. Pixels outside
            add nothing and are never the maximum.

    Returns:
        (B,) float32 in [0, 1]; 0 for an image without a valid pixel.

    Raises:
        ValueError: The maps are not (B, H, W), or `valid` has another shape.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps must be (B, H, W), not {tuple(maps.shape)}")
    window = window_size(maps.shape[1], maps.shape[2])
    scores = maps.float()
    if valid is None:
        return mean_filter(scores, window).amax(dim=(1, 2))
    if valid.shape != maps.shape:
        raise ValueError(f"valid is {tuple(valid.shape)}, the maps are {tuple(maps.shape)}")
    valid = valid.bool()
    inside = mean_filter(torch.where(valid, scores, 0.0), window)
    share = mean_filter(valid.float(), window)
    means = torch.where(valid, inside / share.clamp_min(torch.finfo(share.dtype).tiny), 0.0)
    return means.amax(dim=(1, 2))


def mean_filter(maps: Tensor, window: int) -> Tensor:
    """Mean over a window around each pixel, of the pixels inside the map: (B, H, W) to the same."""
    half = window // 2  # one axis after the other
    rows = F.avg_pool2d(maps[:, None], (window, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, window), 1, (0, half), count_include_pad=False)[:, 0]
