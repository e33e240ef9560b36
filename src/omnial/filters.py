"""Small separable filters, and the SSIM map built on them.

Where a gradient is wanted, or on a GPU, a filter of some taps along one axis is a product with a
banded (n, n) matrix: it runs at the speed of the device's matrix unit, forward and backward,
where a one-channel convolution of the same taps is bound by memory traffic.
"""

from functools import lru_cache
from typing import Any, cast

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
    down, across = _filter_matrices(images, taps, stride)
    return down @ (images @ across.mT)


def _filter_matrices(images: Tensor, taps: tuple[float, ...], stride: int) -> tuple[Tensor, Tensor]:
    """The filter along the rows of (..., H, W) and along its columns."""
    height, width = images.shape[-2:]
    return (
        _filter_matrix(height, taps, stride, images.device, images.dtype),
        _filter_matrix(width, taps, stride, images.device, images.dtype),
    )


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
    if first.requires_grad and not second.requires_grad:
        # PyTorch's stubs leave `apply` untyped.
        moments = _Moments.apply(first, second, taps, stride)  # type: ignore[no-untyped-call]
    else:
        moments = _moments(first, second, taps, stride)
    mean_1, mean_2, squares, product = cast(tuple[Tensor, ...], moments)
    mean_product = mean_1 * mean_2
    mean_squares = mean_1 * mean_1 + mean_2 * mean_2
    numerator = (2 * mean_product + _C1) * (2 * (product - mean_product) + _C2)
    return numerator / ((mean_squares + _C1) * (squares - mean_squares + _C2))


def _moments(
    first: Tensor, second: Tensor, taps: tuple[float, ...], stride: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The means of both, of the sum of their squares, and of their product.

    The two variances enter SSIM as their sum only, which saves one filter.
    """
    squares = torch.addcmul(first * first, second, second)
    maps = (first, second, squares, first * second)
    mean_1, mean_2, mean_squares, product = (separable(each, taps, stride) for each in maps)
    return mean_1, mean_2, mean_squares, product


class _Moments(torch.autograd.Function):
    """`_moments` with a gradient of half as many passes over memory, to the first alone."""

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, taps: tuple[float, ...], stride: int
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(first, second)
        ctx.taps, ctx.stride = taps, stride
        return _moments(first, second, taps, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        first, second = ctx.saved_tensors
        down, across = _filter_matrices(first, ctx.taps, ctx.stride)
        of_mean, _, of_squares, of_product = (down.mT @ (each @ across) for each in gradients)
        of_mean.addcmul_(first, of_squares, value=2.0)
        return of_mean.addcmul_(second, of_product), None, None, None
