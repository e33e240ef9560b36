"""What an image looks like, in a few dozen numbers: products are recognised by them.

They are taken from the image alone, not from what the network learnt, so that a picture of
something else cannot come out as one of the products: a network that removes colour, contrast
and everything that it never saw maps noise to the middle of what it knows.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from omnial.models.recogniser import GROUPS, LEVELS
from omnial.synthesis.jnd import luma

_CELLS = 8
"""Cells along each axis, over which brightness, colour and detail are averaged."""
_FLOOR = 2 / 255
"""Detail below the noise of a good camera counts as none."""
_SMALLEST = 16
"""Pixels of an axis below which an image is not halved any more."""
_NOISE_LEVELS = [(mean, deviation) for mean in (0.2, 0.5, 0.8) for deviation in (0.03, 0.1, 0.25)]
_NOISE_EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Of the frequency, by which the amplitude falls: white, pink, brown and between. [O]"""


def appearance(images: Tensor) -> Tensor:
    """Describe images by brightness, colour and the detail of each scale and direction.

    Each quantity is averaged over cells of the image; the cells are sorted by it and those from
    15 to 35, 40 to 60 and 65 to 85 % averaged. So it matters neither much where in the image
    something lies nor whether a small part of it is defective.

    From (B, 3, H, W) floating, in [0, 1], at least 32 pixels high and wide, to (B, FEATURES)
    float32. The first is the logarithm of the image's contrast, the others are brightness and
    colour in [-1, 1] and logarithms of local differences: a change by 0.1 means about as much in
    each.
    """
    halved = F.avg_pool2d(images.float(), 2)
    contrast = torch.sqrt(halved.var((2, 3), correction=0).mean(1, keepdim=True))
    colour = torch.stack((halved[:, 0] - halved[:, 2], halved[:, 1] - halved[:, ::2].mean(1)), 1)
    light = luma(images.float())
    found = [torch.log(contrast + _FLOOR)]
    found.append(_groups(_cells(torch.cat((luma(halved), colour), 1))))
    for level in range(LEVELS):
        if level and min(light.shape[2:]) >= _SMALLEST:
            light = F.avg_pool2d(light, 2)
            colour = colour if level == 1 else F.avg_pool2d(colour, 2)
        corner, right, below, across = _quads(light)
        steps = torch.cat((right - corner, below - corner, across - corner, right - below), 1)
        sizes, squares = _cells(steps.abs()), _cells(steps.square())
        # Edges are few large differences, noise is many small ones.
        root = torch.sqrt(squares.mean(1, keepdim=True) + _FLOOR**2)
        evenness = torch.log(sizes.mean(1, keepdim=True) + _FLOOR) - torch.log(root)
        parts = [torch.log(sizes + _FLOOR), evenness]
        if level:
            corner, _, _, across = _quads(colour)
            hues = (across - corner).abs().mean(1, keepdim=True)
            parts.append(torch.log(_cells(hues) + _FLOOR))
        found.append(_groups(torch.cat(parts, 1)))
    return torch.cat(found, 1)


def _quads(maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four pixels of each 2x2 block, each (B, C, H // 2, W // 2)."""
    height, width = (size // 2 * 2 for size in maps.shape[2:])
    even = maps[..., :height, :width]
    return even[..., ::2, ::2], even[..., ::2, 1::2], even[..., 1::2, ::2], even[..., 1::2, 1::2]


def _cells(maps: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, cells), the mean over each; what is left at the border is not seen."""
    height, width = maps.shape[2:]
    cell = (max(height // _CELLS, 1), max(width // _CELLS, 1))
    return F.avg_pool2d(maps, cell).flatten(2)


def _groups(cells: Tensor) -> Tensor:
    """(B, C, cells) to (B, C * groups), the mean of each group of the sorted cells."""
    ordered = cells.sort(dim=2).values
    count = ordered.shape[2]
    parts = [ordered[..., round(a * count) : round(b * count)].mean(2) for a, b in GROUPS]
    return torch.cat(parts, 1)


def noise(height: int, width: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Images of no product, in batches of (B, 3, height, width) float32 in [0, 1]: noise.

    It has many brightnesses, strengths and grains, and is grey and coloured.
    """
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = torch.hypot(rows, columns)
    frequency[0, 0] = 1.0
    levels = torch.tensor(_NOISE_LEVELS)[:, :, None, None, None]
    for exponent in _NOISE_EXPONENTS:
        for channels in (1, 3):
            white = torch.randn(len(levels), channels, height, width, generator=generator)
            spectrum = torch.fft.rfft2(white) / frequency**exponent
            grains = torch.fft.irfft2(spectrum, s=(height, width))
            grains = (grains - grains.mean((2, 3), keepdim=True)) / grains.std((2, 3), keepdim=True)
            yield (levels[:, 0] + levels[:, 1] * grains).clamp(0.0, 1.0).expand(-1, 3, -1, -1)
