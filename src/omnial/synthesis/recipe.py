"""Training samples: from defect-free images to anomalous ones and their masks."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from omnial.config.own_code import call_own
from omnial.config.settings import Settings, SynthesisSettings, is_own
from omnial.data.cover import size_of, window_at
from omnial.data.decode import as_unit, network_input, network_roi
from omnial.data.records import Catalogue
from omnial.errors import UserError
from omnial.filters import box_blur, ssim_map
from omnial.sample_random import Indices, SampleRandom, uploaded
from omnial.synthesis.jnd import jnd_levels, jnd_target, luma
from omnial.synthesis.shapes import draw_panels, perlin_shapes, rotated
from omnial.synthesis.textures import prepared_textures

_CACHED_PIXELS: Final = 2**17
"""So many at once keep the two hundred passes over a sample within a processor's cache."""
_PREVIEW_STEP: Final = 2**41  # no training step has this number


class SynthesizedBatch(NamedTuple):
    """What the network learns from."""

    normal: Tensor
    """(B, 3, H, W) float32 in [0, 1]: the defect-free image I."""
    anomalous: Tensor
    """(B, 3, H, W) float32 in [0, 1]: the image with defects A."""
    mask: Tensor
    """(B, 1, H, W) float32, 1 where A shows a defect: Y."""
    jnd: Tensor
    """(B, 1, H, W) float32 in [0, 1]: the JND target of I."""
    panel: Tensor
    """(B, 1, H, W) float32, 1 inside the panel."""
    level: Tensor
    """(B, 1, H, W) uint8: 0 none, 1 easy, 2 medium, 3 hard; the last one drawn there."""


class RecipePart(Protocol):
    """What a recipe of the user's own must offer."""

    def __call__(
        self, images: Tensor, textures: Tensor, settings: SynthesisSettings, random: SampleRandom
    ) -> tuple[Tensor, Tensor]:
        """Draw anomalies into a batch: the anomalous images A, and the masks Y.

        Images, the raw texture source of each, and A are (B, 3, H, W) float32 in [0, 1]; Y is
        (B, 1, H, W), 1 or True where A shows a defect. All draws come from `random`.
        """


def synthesize(
    images: Tensor,
    textures: Tensor,
    settings: SynthesisSettings,
    random: SampleRandom,
    region: Tensor | None = None,
) -> SynthesizedBatch:
    """Draw anomalies into a batch of defect-free images, by the recipe that the settings name.

    Images, and the raw texture source of each, are (B, 3, H, W) float32 in [0, 1]; the region of
    interest is (B, 1, H, W) float32 or bool, None for everywhere. The samples' random numbers are
    on the images' device.

    Raises:
        UserError: A recipe of the user's own cannot be imported, or is not what `RecipePart` says.
    """
    if settings.turned_share > 0.0:
        images, region = _rotate_some(images, region, random, settings.turned_share)
    if is_own(settings.recipe):
        return _by_own_recipe(images, textures, settings, random, region)
    return _by_perlin_shapes(images, textures, settings, random, region)


def preview(
    settings: Settings, catalogue: Catalogue, count: int, seed: int
) -> tuple[SynthesizedBatch, list[str]]:
    """Synthesize `count` samples, the classes in turn, and return the class name of each too."""
    rng, corners = np.random.default_rng((seed, 3)), np.random.default_rng((seed, 5))
    products = [catalogue.classes[index % len(catalogue.classes)] for index in range(count)]
    images, regions = [], []
    for product in products:
        record = product.train[int(rng.integers(len(product.train)))]
        pixels, placement = network_input(record.path, settings.data)
        window, corner = (settings.data.height, settings.data.width), corners.random(2).tolist()
        part = window_at(size_of(pixels), window, corner)
        images.append(as_unit(pixels[(..., *part)]))
        regions.append(network_roi(product.roi, placement)[part][None])
    normal = torch.from_numpy(np.stack(images))
    # Another image is the texture source, where there is another one.
    textures = normal[[(index + rng.integers(1, max(count, 2))) % count for index in range(count)]]
    random = SampleRandom(seed, _PREVIEW_STEP, torch.arange(count))
    region = torch.from_numpy(np.stack(regions))
    batch = synthesize(normal, textures, settings.synthesis, random, region)
    return batch, [product.name for product in products]


def _by_own_recipe(
    images: Tensor,
    textures: Tensor,
    settings: SynthesisSettings,
    random: SampleRandom,
    region: Tensor | None,
) -> SynthesizedBatch:
    """Anomalies of the user's own, in some of the samples and within the region of interest."""
    path = settings.recipe
    found = call_own(path, images=images, textures=textures, settings=settings, random=random)
    parts = found if isinstance(found, tuple) else ()
    shapes = [tuple(getattr(part, "shape", ())) for part in parts]
    wanted = [tuple(images.shape), tuple(images[:, :1].shape)]
    if shapes != wanted:
        raise UserError(f"{path} must give images and masks of {wanted}, not {shapes}")
    anomalous, mask = parts
    allowed = (random.uniform("anomalous") < settings.anomalous_share)[:, None, None, None]
    allowed = allowed.expand_as(mask) if region is None else allowed & region.bool()
    anomalous = torch.where(allowed, anomalous.clamp(0.0, 1.0), images)
    jnd, mask = jnd_levels(images), allowed & mask.bool()
    if settings.label_correction:
        mask &= visible_change(images, anomalous, jnd, settings.ssim_difference)
    everywhere = torch.ones_like(jnd)
    level = mask.to(torch.uint8)
    return SynthesizedBatch(images, anomalous, mask.float(), jnd_target(jnd), everywhere, level)


def _by_perlin_shapes(
    images: Tensor,
    textures: Tensor,
    settings: SynthesisSettings,
    random: SampleRandom,
    region: Tensor | None,
) -> SynthesizedBatch:
    """OmniAL's recipe, of which DRAEM's and JNLD's are other settings.

    Each level l blends its texture with weight w = M_l blur(M_l) clamp(beta_l + g J / max J, 0, 1),
    A <- (1 - w) A + w T; the label is the union of the shapes where the change is visible.
    """
    at_once = len(images)
    if images.device.type == "cpu":
        at_once = max(1, _CACHED_PIXELS // images[0, 0].numel())
    jnd = torch.cat([jnd_levels(some) for some in torch.split(images, at_once)])
    panel = torch.ones_like(images[:, :1])
    if settings.panels:
        panel = draw_panels(random, settings.panel_span, (images.shape[-2], images.shape[-1]))
    allowed = panel if region is None else panel * region
    anomalous, mask = images.clone(), torch.zeros_like(panel)
    level = mask.to(torch.uint8)
    for chosen, samples, levels in _present_levels(settings, random, at_once):
        some = uploaded(chosen, images.device)
        drawn = _draw_levels(
            *(each.index_select(0, some) for each in (images, textures, jnd, allowed)),
            samples=samples,
            levels=levels,
            settings=settings,
            random=random[chosen],
        )
        for whole, part in zip((anomalous, mask, level), drawn, strict=True):
            whole.index_copy_(0, some, part)
    return SynthesizedBatch(images, anomalous, mask, jnd_target(jnd), panel, level)


def _present_levels(
    settings: SynthesisSettings, random: SampleRandom, at_once: int
) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Which samples get which levels, decided on the CPU: `at_once` of those that get any.

    Each part has the samples' indices, (n,), and for each level drawn the sample's index within
    the part and the level's, both (k,).
    """
    chance = random.on_cpu()
    present = chance.uniform("level present", len(settings.levels)) < settings.level_probability
    present &= (chance.uniform("anomalous") < settings.anomalous_share)[:, None]
    drawn = present.numpy()
    chosen = np.flatnonzero(drawn.any(1))
    for start in range(0, len(chosen), at_once):
        part = chosen[start : start + at_once]
        samples, levels = np.nonzero(drawn[part])
        yield part, samples, levels


def _draw_levels(
    images: Tensor,
    textures: Tensor,
    jnd: Tensor,
    allowed: Tensor,
    *,
    samples: Indices,
    levels: Indices,
    settings: SynthesisSettings,
    random: SampleRandom,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw each of the levels, (k,), in its sample of the (B, 3, H, W) images: A, Y, the level."""
    size = (images.shape[-2], images.shape[-1])
    textures = prepared_textures(textures, images, settings, random)
    shapes = images.new_zeros(len(images), len(settings.levels), *size)
    shapes[uploaded(samples, images.device), uploaded(levels, images.device)] = perlin_shapes(
        random.parts(samples, levels),
        settings.perlin_octaves,
        settings.perlin_threshold,
        size,
        settings.line_share,
    ).float()
    shapes *= allowed
    masking = settings.jnd_gain * jnd / jnd.amax((2, 3), keepdim=True)
    beta = random.uniform("beta", len(settings.levels), 1, 1)
    # The same texture in every level, so that the levels' blends are one: the shares of the image
    # that each leaves multiply.
    image_share = torch.ones_like(jnd)
    level_map = torch.zeros_like(jnd, dtype=torch.uint8)
    for index in np.unique(levels).tolist():
        level, shape = settings.levels[index], shapes[:, index : index + 1]
        strength = level.beta[0] + (level.beta[1] - level.beta[0]) * beta[:, index : index + 1]
        weight = shape * box_blur(shape, level.blur) * (strength + masking).clamp_(0.0, 1.0)
        image_share *= 1.0 - weight
        level_map = torch.where(shape > 0, index + 1, level_map).to(torch.uint8)
    anomalous = torch.lerp(textures, images, image_share)
    mask = level_map > 0
    if settings.label_correction:
        mask &= visible_change(images, anomalous, jnd, settings.ssim_difference)
    return anomalous, mask.float(), level_map


def _rotate_some(
    images: Tensor, region: Tensor | None, random: SampleRandom, share: float
) -> tuple[Tensor, Tensor | None]:
    """Rotate some of the normal images, and their regions of interest, by up to 90 degrees."""
    chosen = random.uniform("image turned") < share
    turn = random.uniform("image turn", low=-math.pi / 2, high=math.pi / 2)
    chosen = chosen[:, None, None, None]
    images = torch.where(chosen, rotated(images, turn), images)
    if region is not None:
        region = torch.where(chosen, rotated(region.float(), turn) >= 0.5, region.bool())
    return images, region


def visible_change(normal: Tensor, anomalous: Tensor, jnd: Tensor, difference: float) -> Tensor:
    """Pixels where the eye, or SSIM, sees the anomaly: (B, 1, H, W) bool.

    SSIM alone, where 1 - SSIM above `difference` counts, keeps only the rim of a flat defect; the
    luminance change against the JND of the normal image, in grey levels, fills it.
    """
    before, after = luma(normal), luma(anomalous)
    dissimilar = 1.0 - ssim_map(before, after) > difference
    return dissimilar | (255.0 * (after - before).abs() > jnd)
