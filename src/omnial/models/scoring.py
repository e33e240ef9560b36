"""From logits to a score per pixel, and from a score map to one score per image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from omnial.config.settings import ImageScore
from omnial.models.score_size import ONE_IN, highest_count, window_size


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


def image_score(maps: Tensor, valid: Tensor | None = None, rule: ImageScore = "top_mean") -> Tensor:
    """One score per image.

    - `top_mean`: the mean of the highest 0.2 % of the pixels, rounded up to whole pixels. A thin
      scratch counts as much as a compact spot of the same area.
    - `window_maximum`: the maximum of the mean-filtered map, as in DRAEM. A window that reaches
      over the border of the map, or of the valid region, averages the pixels inside alone, so
      that a defect at the border counts as much as one in the middle.

    Args:
        maps: (B, H, W) scores in [0, 1].
        valid: (B, H, W) bool, True where scores count; None is everywhere. Pixels outside
            add nothing: they are neither among the highest nor among those counted.
        rule: One of the two.

    Returns:
        (B,) float32 in [0, 1]; 0 for an image without a valid pixel.

    Raises:
        ValueError: The maps are not (B, H, W), or `valid` has another shape.
    """
    if maps.ndim != 3:
        raise ValueError(f"maps must be (B, H, W), not {tuple(maps.shape)}")
    if valid is not None and valid.shape != maps.shape:
        raise ValueError(f"valid is {tuple(valid.shape)}, the maps are {tuple(maps.shape)}")
    inside = torch.ones_like(maps, dtype=torch.bool) if valid is None else valid.bool()
    if rule == "top_mean":
        return _top_mean(maps.float(), inside)
    return window_means(maps.float(), inside).amax(dim=(1, 2)).clamp_min(0.0)


def _top_mean(scores: Tensor, valid: Tensor) -> Tensor:
    most = highest_count(scores.shape[1] * scores.shape[2])
    highest = torch.where(valid, scores, 0.0).flatten(1).topk(most, 1).values
    # Rounded up, in whole numbers: what is counted must not depend on a float's rounding.
    counts = (valid.flatten(1).sum(1) + (ONE_IN - 1)).div(ONE_IN, rounding_mode="floor")
    taken = torch.arange(most, device=scores.device) < counts[:, None]
    return torch.where(taken, highest, 0.0).sum(1) / counts.clamp_min(1)


def window_means(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over a window around each pixel, of the valid pixels alone, differentiable.

    Args:
        values: (B, H, W) float.
        valid: (B, H, W) bool.

    Returns:
        (B, H, W); -inf around a pixel that is not valid itself.
    """
    window = window_size(values.shape[1], values.shape[2])
    inside = _mean_filter(torch.where(valid, values, 0.0), window)
    share = _mean_filter(valid.float(), window)
    means = inside / share.clamp_min(torch.finfo(share.dtype).tiny)
    return torch.where(valid, means, -torch.inf)


def _mean_filter(maps: Tensor, window: int) -> Tensor:
    """Mean over a window around each pixel, of the pixels inside the map: (B, H, W) to the same."""
    half = window // 2  # one axis after the other
    rows = F.avg_pool2d(maps[:, None], (window, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, window), 1, (0, half), count_include_pad=False)[:, 0]
