"""Label correction: a shape counts as a defect only where the blending left something to see."""

import torch.nn.functional as F
from torch import Tensor

from omnial.synthesis.filters import ssim_map
from omnial.synthesis.jnd import luma


def visible_change(normal: Tensor, anomalous: Tensor, jnd: Tensor, difference: float) -> Tensor:
    """Where the eye, or SSIM, can tell the anomalous image from the normal one.

    SSIM alone keeps only the rim of a flat defect; the luminance change against the JND
    fills it.

    Args:
        normal: (B, 3, H, W) float32 in [0, 1].
        anomalous: (B, 3, H, W) float32 in [0, 1].
        jnd: (B, 1, H, W) JND of the normal image in grey levels.
        difference: 1 - SSIM above this value counts as visible.

    Returns:
        (B, 1, H, W) bool.
    """
    before, after = luma(normal), luma(anomalous)
    # The map is as smooth as its window, so that every second place tells all of it.
    coarse = ssim_map(before, after, stride=2)
    ssim = F.interpolate(coarse, size=before.shape[-2:], mode="nearest")
    dissimilar = 1.0 - ssim > difference
    return dissimilar | (255.0 * (after - before).abs() > jnd)
