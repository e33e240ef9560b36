"""Small separable filters, and the SSIM map built on them.

Where a gradient is wanted, or on a GPU, a filter of some taps along one axis is a product with a
banded (n, n) matrix: it runs at the speed of the device's matrix unit, forward and backward,
where a one-channel convolution of the same taps is bound by memory traffic.
"""

from functools import lru_cache

import torch
from torch import Tensor

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


@lru_cache(maxsize=32)
def _filter_matrix(
    length: int, taps: tuple[float, ...], stride: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The (length / stride, length) matrix of a symmetric filter with reflecting borders."""
    matrix = torch.zeros(len(range(0, length, stride)), length, dtype=torch.float64)
    radius = len(taps) // 2
    period = max(2 * (length - 1), 1)
    for row, centre in enumerate(range(0, length, stride)):
        for offset, tap in enumerate(taps, start=-radius):
            column = abs(centre + offset) % period
            matrix[row, min(column, period - column) if length > 1 else 0] += tap
    return matrix.to(device, dtype)


def separable(images: Tensor, taps: tuple[float, ...], stride: int = 1) -> Tensor:
    """Filter (..., H, W) along both axes with a symmetric filter and reflecting borders.

    With a stride it is evaluated at every stride-th row and column only, and the result is
    (..., ceil(H / stride), ceil(W / stride)).
    """
    height, width = images.shape[-2:]
    half = len(taps) // 2
    on_cpu = images.device.type == "cpu" and not images.requires_grad
    if on_cpu and stride == 1 and half < min(height, width):
        return _sliding_sum(_sliding_sum(images, taps, -2), taps, -1)
    down = _filter_matrix(height, taps, stride, images.device, images.dtype)
    across = _filter_matrix(width, taps, stride, images.device, images.dtype)
    return down @ (images @ across.mT)


def _sliding_sum(images: Tensor, taps: tuple[float, ...], axis: int) -> Tensor:
    """Filter along one axis by adding shifted images.

    Each of them is read from the processor's cache: ten times as fast there as a convolution of
    one channel, but only where no gradient is wanted, which would pad every one of them again.
    """
    half, length = len(taps) // 2, images.shape[axis]
    before = images.narrow(axis, 1, half).flip(axis)
    after = images.narrow(axis, length - 1 - half, half).flip(axis)
    padded = torch.cat((before, images, after), axis)
    total = padded.narrow(axis, 0, length) * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        total.add_(padded.narrow(axis, shift, length), alpha=tap)
    return total


@lru_cache(maxsize=8)
def gaussian_taps(window: int, sigma: float) -> tuple[float, ...]:
    """The taps of a Gaussian that sum to one."""
    positions = torch.arange(window, dtype=torch.float64) - window // 2
    weights = torch.exp(-(positions**2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


def box_blur(images: Tensor, window: int) -> Tensor:
    """Mean over window x window pixels with reflecting borders; (..., H, W) float."""
    return images if window == 1 else separable(images, (1.0 / window,) * window)


def ssim_map(first: Tensor, second: Tensor, stride: int = 1) -> Tensor:
    """Structural similarity (Wang et al. 2004) of two (B, C, H, W) float in [0, 1].

    Gaussian window of 11, sigma 1.5, data range 1, constants 0.01 and 0.03, reflecting borders,
    population variances; at every stride-th row and column, as `separable`; at most 1.
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
