"""Just-noticeable difference: the largest luminance change that the eye does not notice.

Chou and Li 1995 for the two masking terms, Yang et al. 2005 for their additivity with overlap
0.3. Which formula the paper uses is unknown; this one is the project's choice.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

TARGET_SCALE = 32.0
"""Grey levels that become 1 in the network's target: JND / 255 would drown in SSIM's constants."""

_LUMA = (0.299, 0.587, 0.114)  # BT.601
_BACKGROUND = ((1, 1, 1, 1, 1), (1, 2, 2, 2, 1), (1, 2, 0, 2, 1), (1, 2, 2, 2, 1), (1, 1, 1, 1, 1))
_GRADIENTS = (
    ((0, 0, 0, 0, 0), (1, 3, 8, 3, 1), (0, 0, 0, 0, 0), (-1, -3, -8, -3, -1), (0, 0, 0, 0, 0)),
    ((0, 0, 1, 0, 0), (0, 8, 3, 0, 0), (1, 3, 0, -3, -1), (0, 0, -3, -8, 0), (0, 0, -1, 0, 0)),
    ((0, 0, 1, 0, 0), (0, 0, 3, 8, 0), (-1, -3, 0, 3, 1), (0, -8, -3, 0, 0), (0, 0, -1, 0, 0)),
    ((0, 1, 0, -1, 0), (0, 3, 0, -3, 0), (0, 8, 0, -8, 0), (0, 3, 0, -3, 0), (0, 1, 0, -1, 0)),
)


def luma(images: Tensor) -> Tensor:
    """BT.601 luma: (B, 3, H, W) to (B, 1, H, W), in the range of the input."""
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    # One pass over each channel: a weighted product would be written out and read back whole.
    return (_LUMA[0] * red).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def jnd_levels(images: Tensor) -> Tensor:
    """The JND map in grey levels.

    JND = LA + T - 0.3 min(LA, T), with luminance adaptation LA of the local background and
    texture masking T of the strongest of four local gradients, borders reflected. From (B, 3, H, W)
    float32 in [0, 1], H and W at least 3, to (B, 1, H, W) float32 in grey levels of 0..255; flat 0,
    127 and 255 give 20, 3 and 6.
    """
    padded = F.pad(255.0 * luma(images), (2, 2, 2, 2), mode="reflect")
    background = _filtered(padded, _BACKGROUND) / 32.0  # the sum of the kernel
    texture = (
        0.117
        / 16.0
        * reduce(torch.maximum, [_filtered(padded, kernel).abs_() for kernel in _GRADIENTS])
    )
    dark = 17.0 * (1.0 - torch.sqrt((background / 127.0).clamp(0.0, 1.0))) + 3.0
    bright = 3.0 / 128.0 * (background - 127.0) + 3.0
    adaptation = torch.where(background <= 127.0, dark, bright)
    return adaptation + texture - 0.3 * torch.minimum(adaptation, texture)


def _filtered(padded: Tensor, kernel: tuple[tuple[int, ...], ...]) -> Tensor:
    """A 5x5 filter of (B, 1, H + 4, W + 4), as the sum of its shifts: (B, 1, H, W).

    They are read from the processor's cache, faster than a convolution of one channel.
    """
    height, width = (length - 4 for length in padded.shape[-2:])
    total = padded.new_zeros(len(padded), 1, height, width)
    for row, taps in enumerate(kernel):
        for column, tap in enumerate(taps):
            if tap:
                shifted = padded[..., row : row + height, column : column + width]
                total.add_(shifted, alpha=tap)
    return total


def jnd_target(levels: Tensor) -> Tensor:
    """What the network reconstructs: clamp(JND / 32, 0, 1)."""
    return (levels / TARGET_SCALE).clamp(0.0, 1.0)
