"""PSNR and SSIM of a reconstruction, one value an image."""

import kornia.metrics
import numpy as np
import torch
from numpy.typing import NDArray

WINDOW = 11
"""Edge of SSIM's Gaussian window in pixels; its sigma is 1.5 (Wang et al. 2004)."""

_LEAST_ERROR = 1e-10


def psnr(
    reconstruction: NDArray[np.float32],
    target: NDArray[np.float32],
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image, -10 log10(mean squared error), in dB.

    The mean runs over the valid pixels and the three channels. An error below 1e-10, which is
    less than one grey level of 16 bits, counts as 1e-10: an exact copy has 100 dB.

    Args:
        reconstruction: (B, 3, H, W), clipped to [0, 1] here.
        target: (B, 3, H, W) in [0, 1].
        valid: (B, H, W) bool, the pixels that count; None means all.

    Returns:
        (B,) float64.

    Raises:
        ValueError: Shapes differ, or an image has no valid pixel.
    """
    weights = _weights(reconstruction, target, valid)
    clipped = np.clip(reconstruction.astype(np.float64), 0.0, 1.0)
    error = _weighted_mean((clipped - target) ** 2, weights)
    return -10.0 * np.log10(np.maximum(error, _LEAST_ERROR))


def ssim(
    reconstruction: NDArray[np.float32],
    target: NDArray[np.float32],
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Structural similarity of each image: Gaussian window 11, sigma 1.5, data range 1.

    The SSIM map of each channel (Wang et al. 2004, equation 13) is averaged over the channels and
    the valid pixels, without the 5 pixels along the frame whose window reaches over it. Without
    `valid` this equals `skimage.metrics.structural_similarity` with `gaussian_weights=True,
    use_sample_covariance=False`. Where all valid pixels lie along the frame, they are taken, with
    the image mirrored beyond it.

    Args:
        reconstruction: (B, 3, H, W), clipped to [0, 1] here; H and W at least 11.
        target: (B, 3, H, W) in [0, 1].
        valid: (B, H, W) bool, the pixels that count; None means all. Windows at the edge of the
            valid area see pixels beyond it.

    Returns:
        (B,) float64 in -1..1.

    Raises:
        ValueError: Shapes differ, or an image has no valid pixel.
    """
    weights = _weights(reconstruction, target, valid)
    # Float64: the variances are small differences of large squares.
    clipped = torch.from_numpy(reconstruction.astype(np.float64)).clamp(0.0, 1.0)
    maps = kornia.metrics.ssim(
        clipped, torch.from_numpy(target.astype(np.float64)), WINDOW, max_val=1.0, eps=0.0
    ).numpy()
    margin = WINDOW // 2
    inner = np.zeros_like(weights)
    inner[:, margin:-margin, margin:-margin] = weights[:, margin:-margin, margin:-margin]
    has_inner = inner.any(axis=(1, 2), keepdims=True)
    return _weighted_mean(maps, np.where(has_inner, inner, weights))


def _weights(
    reconstruction: NDArray[np.float32],
    target: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    if reconstruction.ndim != 4 or reconstruction.shape != target.shape:
        raise ValueError(
            f"the reconstruction {reconstruction.shape} and its target {target.shape} must be "
            "of one shape (B, 3, H, W)"
        )
    shape = (target.shape[0], *target.shape[2:])
    weights = np.ones(shape, dtype=np.bool_) if valid is None else valid
    if weights.shape != shape:
        raise ValueError(f"the valid pixels {weights.shape} must have the shape {shape}")
    if not weights.any(axis=(1, 2)).all():
        raise ValueError("an image has no valid pixel")
    return weights


def _weighted_mean(values: NDArray[np.float64], weights: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of (B, C, H, W) over the channels and the pixels that count in (B, H, W)."""
    sums = np.einsum("bchw,bhw->b", values, weights.astype(np.float64))
    mean: NDArray[np.float64] = sums / (values.shape[1] * weights.sum(axis=(1, 2)))
    return mean
