"""The recipe of the training samples once more, image by image in NumPy and SciPy.

Written from the recipe's formulas and not from the batched code, with a generator of its own. It
says what the batched synthesis saves, and `tests/benchmarks/test_reference_synthesis.py` holds
the distributions of the two against each other.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from omnial.config.settings import SynthesisSettings

Floats = NDArray[np.float32]

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_BACKGROUND = np.array(
    [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]],
    np.float32,
)
_HORIZONTAL = np.array(
    [[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]],
    np.float32,
)
_DIAGONAL = np.array(
    [[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]],
    np.float32,
)
# Chou and Li's four directions: two of them are the other two rotated by a quarter.
_DIRECTIONS = (_HORIZONTAL, _DIAGONAL, np.rot90(_DIAGONAL), np.rot90(_HORIZONTAL))


class Sample(NamedTuple):
    """One training sample; images are (3, H, W), the rest (H, W)."""

    anomalous: Floats
    mask: NDArray[np.bool_]
    jnd: Floats
    panel: NDArray[np.bool_]
    level: NDArray[np.uint8]


def perlin(rng: np.random.Generator, cells: tuple[int, int], size: tuple[int, int]) -> Floats:
    """Perlin noise of unit gradients, times sqrt(2): the four corners of each pixel's cell."""
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    y, x = np.meshgrid(
        *(np.arange(n, dtype=np.float32) * (c / n) for c, n in zip(cells, size, strict=True)),
        indexing="ij",
    )
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    noise = np.zeros(size, np.float32)
    for down in (0, 1):
        for right in (0, 1):
            dy, dx = y - (top + down), x - (left + right)
            angle = angles[top + down, left + right]
            weight = _fade(1 - np.abs(dy)) * _fade(1 - np.abs(dx))
            noise += weight * (np.cos(angle) * dx + np.sin(angle) * dy)
    return np.float32(np.sqrt(2)) * noise


def _fade(t: Floats) -> Floats:
    return t**3 * (t * (t * 6 - 15) + 10)


def shape(
    rng: np.random.Generator, settings: SynthesisSettings, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Noise of a random scale per axis, rotated by up to 90 degrees about the centre, cut off."""
    low, high = settings.perlin_octaves
    cells = 2 ** rng.integers(low, high + 1, 2)
    noise = perlin(rng, (int(cells[0]), int(cells[1])), size)
    angle = rng.uniform(-np.pi / 2, np.pi / 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = (np.array(size) - 1) / 2
    rotated = ndimage.affine_transform(
        noise, turn, centre - turn @ centre, order=1, mode="grid-constant"
    )
    inside: NDArray[np.bool_] = rotated > settings.perlin_threshold
    return inside


def panel(
    rng: np.random.Generator, settings: SynthesisSettings, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The left, right, top or bottom part of the image, or all of it."""
    inside = np.ones(size, np.bool_)
    kind = int(rng.integers(5)) if settings.panels else 4
    share = rng.uniform(*settings.panel_span)
    if kind < 4:
        # Pixels whose centre lies in the part.
        length = size[1] if kind < 2 else size[0]
        within = (np.arange(length) + 0.5) / length < share
        within = within[::-1] if kind in (1, 3) else within
        inside &= within[None, :] if kind < 2 else within[:, None]
    return inside


def luma(image: Floats) -> Floats:
    """BT.601 luma of (3, H, W)."""
    result: Floats = np.tensordot(_LUMA, image, 1).astype(np.float32)
    return result


def jnd_map(image: Floats) -> Floats:
    """Just-noticeable difference in grey levels of 0..255."""
    grey = 255 * luma(image)
    background = ndimage.correlate(grey, _BACKGROUND, mode="mirror") / 32
    gradients = [np.abs(ndimage.correlate(grey, k, mode="mirror")) for k in _DIRECTIONS]
    texture = 0.117 / 16 * np.max(gradients, axis=0)
    adaptation: Floats = np.where(
        background <= 127,
        17 * (1 - np.sqrt(np.clip(background / 127, 0, 1))) + 3,
        3 / 128 * (background - 127) + 3,
    )
    levels: Floats = adaptation + texture - 0.3 * np.minimum(adaptation, texture)
    return levels


def ssim(first: Floats, second: Floats) -> Floats:
    """SSIM map of two (H, W) images: Gaussian window of 11, sigma 1.5."""

    def blur(values: Floats) -> Floats:
        blurred: Floats = ndimage.gaussian_filter(values, 1.5, mode="mirror", radius=5)
        return blurred

    mean_1, mean_2 = blur(first), blur(second)
    variance_1, variance_2 = blur(first**2) - mean_1**2, blur(second**2) - mean_2**2
    covariance = blur(first * second) - mean_1 * mean_2
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    numerator = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    denominator = (mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2)
    return np.asarray(numerator / denominator, np.float32)


def augmented(
    rng: np.random.Generator, texture: Floats, image: Floats, settings: SynthesisSettings
) -> Floats:
    """The texture cropped, resized, flipped and recoloured; no more colourful than the image."""
    zoom = np.exp(rng.uniform(*np.log(settings.texture_zoom)))
    scale = zoom * rng.uniform(0.8, 1.25, 2) * rng.choice([-1, 1], 2)
    size = np.array(texture.shape[1:])
    centre = (size - 1) / 2
    offset = centre - scale * centre + rng.uniform(-1, 1, 2) * size / 2
    moved = np.stack(
        [ndimage.affine_transform(c, scale, offset, order=1, mode="reflect") for c in texture]
    )
    gain = rng.uniform(0.6, 1.4, (3, 1, 1))
    contrast, shift, mean = rng.uniform(0.6, 1.6), rng.uniform(-0.3, 0.3), moved.mean()
    changed = (moved - mean) * contrast * gain + mean * gain + shift
    recoloured: Floats = np.clip(changed, 0, 1).astype(np.float32)
    if not settings.match_colour:
        return recoloured
    grey = luma(recoloured)
    own = max(float(np.abs(recoloured - grey).mean()), 1e-6)
    wanted = float(np.abs(image - luma(image)).mean())
    limited: Floats = np.clip(grey + min(wanted / own, 1.0) * (recoloured - grey), 0, 1)
    return limited


def draw_sample(
    image: Floats, texture: Floats, settings: SynthesisSettings, rng: np.random.Generator
) -> Sample:
    """One sample from one defect-free image and one raw texture, both (3, H, W) in [0, 1]."""
    size = (image.shape[1], image.shape[2])
    if rng.random() < settings.own_texture_share:
        texture = image
    texture = augmented(rng, texture, image, settings)
    jnd = jnd_map(image)
    allowed = panel(rng, settings, size)
    is_anomalous = rng.random() < settings.anomalous_share
    anomalous = image
    union, drawn = np.zeros(size, np.bool_), np.zeros(size, np.uint8)
    for number, level in enumerate(settings.levels, start=1):
        if not is_anomalous or rng.random() >= settings.level_probability:
            continue
        inside = shape(rng, settings, size) & allowed
        soft = ndimage.uniform_filter(inside.astype(np.float32), level.blur, mode="mirror")
        strength = rng.uniform(*level.beta) + settings.jnd_gain * jnd / jnd.max()
        weight = inside * soft * np.clip(strength, 0, 1)
        anomalous = (anomalous + weight * (texture - anomalous)).astype(np.float32)
        union |= inside
        drawn[inside] = number
    if settings.label_correction:
        before, after = luma(image), luma(anomalous)
        union &= (1 - ssim(before, after) > settings.ssim_difference) | (
            255 * np.abs(after - before) > jnd
        )
    return Sample(anomalous, union, np.clip(jnd / 32, 0, 1), allowed, drawn)
