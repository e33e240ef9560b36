"""Small separable filters written as matrix products, and the SSIM map built on them.

A Gaussian of 11 taps along one axis is a banded (n, n) matrix. As a matrix product it runs at
the speed of the device's matrix unit, forward and backward, where a one-channel convolution of
the same taps is bound by memory traffic.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


@lru_cache(maxsize=32)
def _filter_matrix(
    length: int, taps: tuple[float, ...], stride: int, device: torch.device
) -> Tensor:
    """The (length / stride, length) matrix of a symmetric filter with reflecting borders."""
    matrix = torch.zeros(len(range(0, length, stride)), length, dtype=torch.float64)
    radius = len(taps) // 2
    period = max(2 * (length - 1), 1)
    for row, centre in enumerate(range(0, length, stride)):
        for offset, tap in enumerate(taps, start=-radius):
            column = abs(centre + offset) % period
            matrix[row, min(column, period - column) if length > 1 else 0] += tap
    return matrix.float().to(device)


def separable(images: Tensor, taps: tuple[float, ...], stride: int = 1) -> Tensor:
    """Filter along both axes with reflecting borders.

    Args:
        images: (..., H, W) float.
        taps: The symmetric filter, of odd length.
        stride: Evaluate at every stride-th row and column only.

    Returns:
        (..., ceil(H / stride), ceil(W / stride)) of the same dtype.
    """
    height, width = images.shape[-2:]
    rows = _filter_matrix(height, taps, stride, images.device).to(images.dtype)
    columns = _filter_matrix(width, taps, stride, images.device).to(images.dtype)
    return rows @ (images @ columns.mT)


@lru_cache(maxsize=8)
def gaussian_taps(window: int, sigma: float) -> tuple[float, ...]:
    """The taps of a Gaussian that sum to one."""
    positions = torch.arange(window, dtype=torch.float64) - window // 2
    weights = torch.exp(-(positions**2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


def box_blur(images: Tensor, window: int) -> Tensor:
    """Mean over window x window pixels with reflecting borders.

    So few taps are faster as a convolution than as a product with a banded matrix.

    Args:
        images: (B, 1, H, W) float, H and W above window // 2.
        window: Odd edge; 1 leaves the images as they are.

    Returns:
        (B, 1, H, W).
    """
    if window == 1:
        return images
    half = window // 2
    padded = F.pad(images, (half, half, half, half), mode="reflect")
    return F.conv2d(padded, _box(window, images.device).to(images.dtype))


@lru_cache(maxsize=16)
def _box(window: int, device: torch.device) -> Tensor:
    """The (1, 1, window, window) kernel of a mean."""
    return torch.full((1, 1, window, window), 1.0 / window**2, device=device)


def ssim_map(first: Tensor, second: Tensor, stride: int = 1) -> Tensor:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of 11, sigma 1.5.

    Data range 1, constants 0.01 and 0.03, reflecting borders, population variances.

    Args:
        first: (B, C, H, W) float32 in [0, 1].
        second: The same.
        stride: Evaluate at every stride-th row and column only.

    Returns:
        (B, C, ceil(H / stride), ceil(W / stride)) float32, at most 1.
    """
    taps = gaussian_taps(SSIM_WINDOW, SSIM_SIGMA)
    mean_1 = separable(first, taps, stride)
    mean_2 = separable(second, taps, stride)
    # The two variances enter as their sum only, which saves one filter.
    squares = separable(first * first + second * second, taps, stride)
    product = separable(first * second, taps, stride)
    mean_product = mean_1 * mean_2
    mean_squares = mean_1 * mean_1 + mean_2 * mean_2
    numerator = (2 * mean_product + _C1) * (2 * (product - mean_product) + _C2)
    return numerator / ((mean_squares + _C1) * (squares - mean_squares + _C2))
