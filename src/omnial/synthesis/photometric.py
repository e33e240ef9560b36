"""DRAEM's texture augmentation: three of ten changes a sample, batched.

The published code draws three of the ten for each image and applies them in the order drawn, on
8-bit images. Here the three are drawn in the same way, and applied in one fixed order: turn,
hue and saturation, sharpness, and then the seven that treat a channel's grey levels, which are
combined into one table a channel and looked up once. Ranges are those of the published code's
library as far as known [S].
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
import torch.nn.functional as F
from kornia.color import hsv_to_rgb, rgb_to_hsv
from torch import Tensor

from omnial.sample_random import SampleRandom
from omnial.synthesis.shapes import rotated

_GREYS = 256
_CUT_OFF = 0.2


def draw_changes(random: SampleRandom) -> Tensor:
    """Draw three of the `CHANGES` a sample: (B, 10) bool."""
    # The three largest of ten uniform numbers are a uniform choice without repetition.
    rank = random.uniform("texture changes", len(CHANGES)).argsort(1).argsort(1)
    return rank >= len(CHANGES) - 3


def photometric_changes(
    textures: Tensor, random: SampleRandom, chosen: Tensor | None = None
) -> Tensor:
    """Change each texture, (B, 3, H, W) float32 in [0, 1], in three of the ten ways.

    `chosen` is (B, 10) bool, the changes of each sample in the order of `CHANGES`; None draws them.
    """
    if chosen is None:
        chosen = draw_changes(random)
    use = dict(zip(CHANGES, chosen.view(*chosen.shape, 1, 1, 1).unbind(1), strict=True))
    for name, change in _OF_IMAGES.items():
        textures = torch.where(use[name], change(textures, random), textures)
    batch, channels = textures.shape[:2]
    levels = (textures * (_GREYS - 1)).round().long().flatten(2)
    counts = torch.zeros(batch, channels, _GREYS, device=textures.device)
    counts.scatter_add_(2, levels, torch.ones((), device=textures.device).expand(levels.shape))
    table = torch.linspace(0.0, 1.0, _GREYS, device=textures.device).expand(batch, channels, -1)
    for name, change_levels in _OF_LEVELS.items():
        table = torch.where(use[name][..., 0], change_levels(table, counts, random), table)
    return table.gather(2, levels).reshape(textures.shape)


def _turn(images: Tensor, random: SampleRandom) -> Tensor:
    angle = math.radians(45.0)
    return rotated(images, random.uniform("texture turn", low=-angle, high=angle))


def _hue(images: Tensor, random: SampleRandom) -> Tensor:
    """Shift hue (a circle of 255 steps) and saturation, each by up to 50 of 255."""
    shift = random.uniform("texture hue", 2, 1, 1, low=-50.0 / 255.0, high=50.0 / 255.0)
    hue, saturation, value = torch.split(rgb_to_hsv(images), 1, 1)
    hue = torch.remainder(hue + 2.0 * math.pi * shift[:, :1], 2.0 * math.pi)
    saturation = (saturation + shift[:, 1:]).clamp(0.0, 1.0)
    return hsv_to_rgb(torch.cat((hue, saturation, value), 1))


def _sharpness(images: Tensor, random: SampleRandom) -> Tensor:
    """Interpolate, or extrapolate, from the softened image to the image."""
    factor = random.uniform("texture sharpness", 1, 1, 1, low=0.0, high=3.0)
    mean = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    # A 3x3 filter of ones with a 5 in the middle.
    soft = (9.0 * mean + 4.0 * images) / 13.0
    return torch.lerp(soft, images, factor).clamp(0.0, 1.0)


# Each of these takes the grey levels' present values (B, 3, 256) in [0, 1] and their counts.


def _gamma(values: Tensor, counts: Tensor, random: SampleRandom) -> Tensor:
    return values ** random.uniform("texture gamma", 3, 1, low=0.5, high=2.0)


def _brightness(values: Tensor, counts: Tensor, random: SampleRandom) -> Tensor:
    most = 30.0 / 255.0
    gain = random.uniform("texture brightness", 1, 1, low=0.8, high=1.2)
    shift = random.uniform("texture brightness shift", 1, 1, low=-most, high=most)
    return (values * gain + shift).clamp(0.0, 1.0)


def _solarize(values: Tensor, counts: Tensor, random: SampleRandom) -> Tensor:
    start = random.uniform("texture solarize", 1, 1, low=32.0 / 255.0, high=128.0 / 255.0)
    happens = random.uniform("texture solarizes", 1, 1) < 0.5
    return torch.where(happens & (values >= start), 1.0 - values, values)


def _posterize(values: Tensor, counts: Tensor, random: SampleRandom) -> Tensor:
    step = 2.0 ** (8 - random.integers("texture bits", 1, 1, low=1, high=9))
    return ((values * (_GREYS - 1)).round() / step).floor() * step / (_GREYS - 1)


def _autocontrast(values: Tensor, counts: Tensor, random: SampleRandom) -> Tensor:
    """Stretch to the full range, after up to a fifth of the pixels at each end is cut off."""
    cut = random.uniform("texture cut-off", 1, 1, high=_CUT_OFF) * counts.sum(2, keepdim=True)
    ordered, order = values.sort(2)
    below = counts.gather(2, order).cumsum(2)
    above = below[..., -1:] - below + counts.gather(2, order)
    low = ordered.gather(2, (below > cut).long().argmax(2, keepdim=True))
    last = _GREYS - 1 - (above > cut).flip(2).long().argmax(2, keepdim=True)
    span = ordered.gather(2, last) - low
    stretched = ((values - low) / span.clamp(min=1e-6)).clamp(0.0, 1.0)
    return torch.where(span > 0.0, stretched, values)


def _equalize(values: Tensor, counts: Tensor, random: SampleRandom) -> Tensor:
    """Give every value the share of pixels at or below it: a flat histogram."""
    ordered, order = values.sort(2)
    total = counts.gather(2, order).cumsum(2)
    # Equal values share the count up to the last of them.
    last = torch.searchsorted(ordered.contiguous(), values.contiguous(), right=True) - 1
    share = total.gather(2, last)
    lowest = total.gather(2, (total > 0).long().argmax(2, keepdim=True))
    span = total[..., -1:] - lowest
    flat = ((share - lowest) / span.clamp(min=1.0)).clamp(0.0, 1.0)
    return torch.where(span > 0.0, flat, values)


_OF_IMAGES: Final[Mapping[str, Callable[[Tensor, SampleRandom], Tensor]]] = {
    "turn": _turn,
    "hue and saturation": _hue,
    "sharpness": _sharpness,
}
_OF_LEVELS: Final[Mapping[str, Callable[[Tensor, Tensor, SampleRandom], Tensor]]] = {
    "gamma": _gamma,
    "brightness": _brightness,
    "solarize": _solarize,
    "posterize": _posterize,
    "invert": lambda values, counts, random: 1.0 - values,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
CHANGES: Final = (*_OF_IMAGES, *_OF_LEVELS)
