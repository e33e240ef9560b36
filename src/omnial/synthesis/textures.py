"""Texture sources: other normal images or a texture collection, cropped, flipped and recoloured."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omnial.config.settings import SynthesisSettings
from omnial.sample_random import SampleRandom
from omnial.synthesis.jnd import luma
from omnial.synthesis.photometric import photometric_changes
from omnial.synthesis.shapes import pixel_centres

_SHADE = (0.15, 0.6)
"""By how much a shaded place is lighter or darker, of the range."""
_SPARSE = np.s_[..., ::4, ::4]  # enough for the mean of an image, at a sixteenth of the cost


def prepared_textures(
    sources: Tensor, images: Tensor, settings: SynthesisSettings, random: SampleRandom
) -> Tensor:
    """What is blended into each image, from a raw texture source for each.

    All are (B, 3, H, W) float32 in [0, 1]: the source, or for some samples the image itself, moved
    and recoloured; for others the image in place, lighter or darker.
    """
    if settings.own_texture_share > 0.0:
        own = random.uniform("own texture", 1, 1, 1) < settings.own_texture_share
        sources = torch.where(own, images, sources)
    if settings.texture_change == "photometric":
        textures = photometric_changes(sources, random)
    else:
        textures = augment_textures(sources, random, settings.texture_zoom)
    if settings.match_colour:
        textures = match_colour(textures, images)
    if settings.shade_share > 0.0:
        shaded = random.uniform("shade", 1, 1, 1) < settings.shade_share
        change = random.uniform("shade change", 1, 1, 1, low=_SHADE[0], high=_SHADE[1])
        lighter = random.uniform("shade sign", 1, 1, 1) < 0.5
        change = torch.where(lighter, change, -change)
        textures = torch.where(shaded, (images + change).clamp_(0.0, 1.0), textures)
    return textures


def augment_textures(
    textures: Tensor, random: SampleRandom, zoom_range: tuple[float, float]
) -> Tensor:
    """Crop, resize, flip and recolour (B, 3, H, W) float32 in [0, 1], each by its own draw.

    The share of the source's width and height that fills the result is drawn on a logarithmic
    scale; the source is mirrored at its borders.
    """
    low, high = (math.log(zoom) for zoom in zoom_range)
    # One draw for both axes, and a little more for each: shapes are kept but for a stretch.
    zoom = random.uniform("texture zoom", 1, low=low, high=high).exp()
    zoom = zoom * random.uniform("texture stretch", 2, low=0.8, high=1.25)
    flip = 1.0 - 2.0 * random.integers("texture flip", 2, high=2).float()
    shift = random.uniform("texture shift", 2, low=-1.0, high=1.0)
    scale = zoom * flip
    height, width = textures.shape[-2:]
    grid = torch.empty(len(random), height, width, 2, device=textures.device)
    for axis, (length, shape) in enumerate(((width, (1, -1)), (height, (-1, 1)))):
        positions = scale[:, axis, None] * pixel_centres(length, grid.device) + shift[:, axis, None]
        grid[..., axis] = positions.view(len(positions), *shape)
    moved = F.grid_sample(textures, grid, padding_mode="reflection", align_corners=False)
    gain = random.uniform("texture gain", 3, 1, 1, low=0.6, high=1.4)
    contrast = random.uniform("texture contrast", 1, 1, 1, low=0.6, high=1.6)
    offset = random.uniform("texture offset", 1, 1, 1, low=-0.3, high=0.3)
    mean = moved[_SPARSE].mean((1, 2, 3), keepdim=True)
    slope = contrast * gain
    return torch.addcmul(mean * gain + offset - mean * slope, moved, slope).clamp_(0.0, 1.0)


def match_colour(textures: Tensor, images: Tensor) -> Tensor:
    """Limit each texture's mean chroma to its image's: on a grey image it becomes grey.

    All are (B, 3, H, W) float32 in [0, 1]; the luma is unchanged but for clipping.
    """
    own, wanted = (_mean_chroma(batch[_SPARSE]) for batch in (textures, images))
    share = (wanted / own.clamp(min=1e-6)).clamp(max=1.0)
    return torch.lerp(luma(textures), textures, share).clamp_(0.0, 1.0)


def _mean_chroma(images: Tensor) -> Tensor:
    """Mean distance of the colours from the luma: (B, 3, H, W) to (B, 1, 1, 1)."""
    return (images - luma(images)).abs().mean((1, 2, 3), keepdim=True)
