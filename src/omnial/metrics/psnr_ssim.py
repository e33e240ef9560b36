"""Figures of a reconstruction, on the device that the images are on.

PSNR and SSIM have one value an image. What is erased of a defect is a ratio of sums over images.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.filters import SSIM_WINDOW, ssim_map

Images = NDArray[np.float32] | Tensor
Mask = NDArray[np.bool_] | Tensor
Number = TypeVar("Number", float, Tensor)

_LEAST_ERROR = 1e-10


def psnr(reconstruction: Images, target: Images, valid: Mask | None = None) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image, -10 log10(mean squared error), in dB.

    The mean runs over the valid pixels and the three channels. An error below 1e-10, which is
    less than one grey level of 16 bits, counts as 1e-10: an exact copy has 100 dB.

    Images are (B, 3, H, W) float in [0, 1], to which the reconstruction is clipped here; the work
    is done on its device. `valid` is (B, H, W) bool, None for all pixels. A ValueError says that
    shapes differ, or that an image has no valid pixel.
    """
    restored, wanted, weights = _checked(reconstruction, target, valid)
    return _decibels(_weighted_mean((restored - wanted) ** 2, weights)).cpu().numpy()


def ssim(reconstruction: Images, target: Images, valid: Mask | None = None) -> NDArray[np.float64]:
    """Structural similarity of each image: Gaussian window 11, sigma 1.5, data range 1.

    The SSIM map of each channel (Wang et al. 2004, equation 13) is averaged over the channels and
    the valid pixels, without the 5 pixels along the frame whose window reaches over it. Without
    `valid` this equals `skimage.metrics.structural_similarity` with `gaussian_weights=True,
    use_sample_covariance=False`. Where all valid pixels lie along the frame, they are taken, with
    the image mirrored beyond it.

    Takes and raises what `psnr` does; H and W are at least 11. Windows at the edge of the valid
    area see pixels beyond it.
    """
    restored, wanted, weights = _checked(reconstruction, target, valid)
    # One at a time: the caches hold a single image's maps, and memory need not hold a batch's.
    pairs = zip(restored[:, None], wanted[:, None], strict=True)
    maps = torch.cat([ssim_map(first, second) for first, second in pairs])
    margin = SSIM_WINDOW // 2
    inner = torch.zeros_like(weights)
    inner[:, margin:-margin, margin:-margin] = weights[:, margin:-margin, margin:-margin]
    has_inner = inner.any(2, keepdim=True).any(1, keepdim=True)
    return _weighted_mean(maps, torch.where(has_inner, inner, weights)).cpu().numpy()


def defect_distances(
    reconstruction: Tensor, anomalous: Tensor, normal: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Squared distances to the defect-free image inside the mask, summed for each image.

    Images are (B, 3, H, W) float in [0, 1], the reconstruction is clipped to it here; the mask is
    (B, 1, H, W) float, 1 where the defect is. Returns (B,) of the reconstruction, and (B,) of the
    image with the defect, as `erased` takes them.
    """
    restored = reconstruction.to(normal.dtype).clamp(0.0, 1.0)
    left, drawn = (restored - normal) ** 2 * mask, (anomalous - normal) ** 2 * mask
    return left.sum((1, 2, 3)), drawn.sum((1, 2, 3))


def erased(left: Number, drawn: Number) -> Number:
    """Share of the defects that a reconstruction removes, from sums of `defect_distances`.

    1 is all of it; 0 leaves as much as a copy of the input does; below 0 is worse still.
    """
    return 1.0 - left / drawn


def running_figures(
    reconstruction: Tensor, anomalous: Tensor, normal: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Figures of a training batch, on the device, from what `defect_distances` takes.

    PSNR outside of the mask, mean over the images, in dB, and the two sums that `erased` takes. An
    image that is all mask counts as redrawn exactly.
    """
    outside = 1.0 - mask[:, 0]
    error = ((reconstruction.to(normal.dtype).clamp(0.0, 1.0) - normal) ** 2).mean(1) * outside
    means = error.sum((1, 2)) / outside.sum((1, 2)).clamp(min=1.0)
    left, drawn = defect_distances(reconstruction, anomalous, normal, mask)
    return _decibels(means).mean(), left.sum(), drawn.sum()


def _decibels(error: Tensor) -> Tensor:
    return -10.0 * error.clamp(min=_LEAST_ERROR).log10()


def _checked(
    reconstruction: Images, target: Images, valid: Mask | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Both images in float64 and the pixels that count, on the reconstruction's device."""
    # Float64: the variances are small differences of large squares.
    restored = torch.as_tensor(reconstruction).double().clamp(0.0, 1.0)
    wanted = torch.as_tensor(target).to(restored)
    given, shape = tuple(restored.shape), tuple(wanted.shape)
    if len(given) != 4 or given != shape:
        raise ValueError(
            f"the reconstruction {given} and its target {shape} must be of one shape (B, 3, H, W)"
        )
    shape = (shape[0], *shape[2:])
    if valid is None:
        return restored, wanted, torch.ones(shape, dtype=torch.bool, device=restored.device)
    weights = torch.as_tensor(valid, device=restored.device)
    if weights.shape != shape:
        raise ValueError(f"the valid pixels {tuple(weights.shape)} must have the shape {shape}")
    if not bool(weights.flatten(1).any(1).all()):
        raise ValueError("an image has no valid pixel")
    return restored, wanted, weights


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of (B, C, H, W) over the channels and the pixels that count in (B, H, W): (B,)."""
    return (values.mean(1) * weights).sum((1, 2)) / weights.sum((1, 2))
