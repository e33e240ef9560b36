"""Pixels packed into channels, so that a small network sees a large image.

The same numbers as PyTorch's pixel unshuffle and shuffle, in one copy each that ends in the
layout the next step wants. Turning an image of three channels into channels-last first would
cost five times as much as the packing itself.
"""

from torch import Tensor


def pack(images: Tensor, stem: int) -> Tensor:
    """Pixel unshuffle into channels-last layout.

    Args:
        images: (B, C, s H, s W).
        stem: s; 1 leaves the images as they are.

    Returns:
        (B, C s^2, H, W), channels-last where s > 1.
    """
    if stem == 1:
        return images
    batch, channels, height, width = images.shape
    rows, columns = height // stem, width // stem
    cells = images.reshape(batch, channels, rows, stem, columns, stem).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, rows, columns, channels * stem**2).permute(0, 3, 1, 2)


def unpack(packed: Tensor, stem: int) -> Tensor:
    """Pixel shuffle into contiguous layout.

    Args:
        packed: (B, C s^2, H, W), fastest in channels-last layout.
        stem: s; 1 leaves the maps as they are.

    Returns:
        (B, C, s H, s W), contiguous where s > 1.
    """
    if stem == 1:
        return packed
    batch, rows, columns = (packed.shape[axis] for axis in (0, 2, 3))
    cells = packed.permute(0, 2, 3, 1).reshape(batch, rows, columns, -1, stem, stem)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, stem * rows, stem * columns)
