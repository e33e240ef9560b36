"""Label correction: a shape counts as a defect only where the blending left something to see."""

from torch import Tensor

from omnial.filters import ssim_map
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
    dissimilar = 1.0 - ssim_map(before, after) > difference
    return dissimilar | (255.0 * (after - before).abs() > jnd)
