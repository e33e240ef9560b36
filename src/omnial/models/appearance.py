"""What an image looks like, in a few dozen numbers: products are recognised by them.

They are taken from the image alone, not from what the network learnt, so that a picture of
something else cannot come out as one of the products: a network that removes colour, contrast
and everything that it never saw maps noise to the middle of what it knows.

NumPy alone, and only where a product is to be recognised: within an exported graph, which is
optimised for convolutions, these few sums took as long as the network.
"""

import numpy as np
from numpy.typing import NDArray

from omnial.data.cover import Cover, size_of
from omnial.models.recogniser import GROUPS, LEVELS

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # BT.601
_CELLS = 8
"""Cells along each axis, over which brightness, colour and detail are averaged."""
_FLOOR = np.float32(2 / 255)
"""Detail below the noise of a good camera counts as none."""
_SMALLEST = 16
"""Pixels of an axis below which an image is not halved any more."""


def appearance(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Describe images by brightness, colour and the detail of each scale and direction.

    Each quantity is averaged over cells of the image; the cells are sorted by it and those from
    15 to 35, 40 to 60 and 65 to 85 % averaged. So it matters neither much where in the image
    something lies nor whether a small part of it is defective.

    From (B, 3, H, W) float32 in [0, 1], at least 32 pixels high and wide, to (B, FEATURES) float32.
    The first is the logarithm of the image's contrast, the others are brightness and colour in
    [-1, 1] and logarithms of local differences: a change by 0.1 means about as much in each.
    """
    halved = _halved(images)
    contrast = np.sqrt(halved.var((2, 3)).mean(1, keepdims=True))
    colour = np.stack((halved[:, 0] - halved[:, 2], halved[:, 1] - halved[:, ::2].mean(1)), 1)
    light = np.einsum("c,bchw->bhw", _LUMA, images)[:, None]
    brightness = np.einsum("c,bchw->bhw", _LUMA, halved)[:, None]
    found = [np.log(contrast + _FLOOR), _groups(_cells(np.concatenate((brightness, colour), 1)))]
    for level in range(LEVELS):
        if level and min(light.shape[2:]) >= _SMALLEST:
            light = _halved(light)
            colour = colour if level == 1 else _halved(colour)
        corner, right, below, across = _quads(light)
        steps = np.concatenate((right - corner, below - corner, across - corner, right - below), 1)
        sizes, squares = _cells(np.abs(steps)), _cells(np.square(steps))
        # Edges are few large differences, noise is many small ones.
        root = np.sqrt(squares.mean(1, keepdims=True) + _FLOOR**2)
        evenness = np.log(sizes.mean(1, keepdims=True) + _FLOOR) - np.log(root)
        parts = [np.log(sizes + _FLOOR), evenness]
        if level:
            corner, _, _, across = _quads(colour)
            hues = np.abs(across - corner).mean(1, keepdims=True)
            parts.append(np.log(_cells(hues) + _FLOOR))
        found.append(_groups(np.concatenate(parts, 1)))
    return np.concatenate(found, 1)


def appearance_of_frames(
    frames: NDArray[np.float32], window: tuple[int, int]
) -> NDArray[np.float32]:
    """The same of frames of one size, (B, 3, h, w): the mean over windows of height and width."""
    parts = Cover.over(size_of(frames), window).parts()
    found: NDArray[np.float32] = np.mean([appearance(frames[(..., *part)]) for part in parts], 0)
    return found


def _halved(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, C, H, W) to (B, C, H // 2, W // 2), the mean of each 2x2 block."""
    corner, right, below, across = _quads(maps)
    total = corner + right
    total += below
    total += across
    total *= np.float32(0.25)
    return total


def _quads(maps: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The four pixels of each 2x2 block, each (B, C, H // 2, W // 2)."""
    height, width = (size // 2 * 2 for size in maps.shape[2:])
    even = maps[..., :height, :width]
    return [even[..., y::2, x::2] for y in (0, 1) for x in (0, 1)]


def _cells(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, C, H, W) to (B, C, cells), the mean over each; what is left at the border is not seen."""
    batch, channels, height, width = maps.shape
    y, x = max(height // _CELLS, 1), max(width // _CELLS, 1)
    rows, columns = height // y, width // x
    blocks = maps[..., : rows * y, : columns * x].reshape(batch, channels, rows, y, columns, x)
    found: NDArray[np.float32] = blocks.mean((3, 5)).reshape(batch, channels, rows * columns)
    return found


def _groups(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, C, cells) to (B, C * groups), the mean of each group of the sorted cells."""
    ordered = np.sort(cells, 2)
    count = ordered.shape[2]
    parts = [ordered[..., round(a * count) : round(b * count)].mean(2) for a, b in GROUPS]
    return np.concatenate(parts, 1)
