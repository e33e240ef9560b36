"""Common corruptions: what a camera on a line really meets, at five severities.

Each is a function of the image and of the sample's random numbers. The numbers of the severities
are the project's own choice [O]; lengths are pixels of an image whose shorter side has 256.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import numpy as np
import torch
from kornia.enhance import adjust_brightness, adjust_contrast_with_mean_subtraction
from kornia.filters import filter2d, motion_blur
from kornia.geometry.transform import rotate, translate
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omnial.data.decode import as_unit
from omnial.evaluation.sample import Sample
from omnial.synthesis.random import SampleRandom

SEVERITIES: Final = (1, 2, 3, 4, 5)

Change = Callable[[Tensor, float, SampleRandom], Tensor]
"""Image (1, 3, H, W) float32 in [0, 1], amount, random numbers, to an image of the same kind."""
Move = Callable[[Tensor, float, SampleRandom, str, str], Tensor]
"""The same for what moves: also the way of sampling and of filling from beyond the frame."""


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes:
        name: Its key in the results.
        amounts: Five amounts, from weak to strong.
        unit: What the amounts are.
        change: Changes the image; None for what moves.
        move: Moves the image and its maps; None for what only changes.
    """

    name: str
    amounts: tuple[float, float, float, float, float]
    unit: str
    change: Change | None = None
    move: Move | None = None


def corrupt(sample: Sample, corruption: Corruption, severity: int, seed: int) -> Sample:
    """Corrupt one decoded image.

    Args:
        sample: The image; what is drawn for it depends on its class, kind and file name.
        corruption: Which.
        severity: 1 to 5.
        seed: Another seed draws other directions and noise.

    Returns:
        The sample, its image of the same dtype: 8-bit images stay 8-bit, as a camera gives them.
        Where it moves, mask and valid pixels move with it, and what comes from beyond the frame
        (the outermost pixels repeated) does not count.
    """
    record = sample.record
    name = f"{record.class_name}/{record.kind}/{record.path.name}"
    # A file's name may hold bytes that are no text.
    place = crc32(name.encode("utf-8", "surrogateescape"))
    random = SampleRandom(seed, crc32(corruption.name.encode()), torch.tensor([place]))
    image = torch.from_numpy(np.array(as_unit(sample.image)))[None]
    amount = corruption.amounts[severity - 1]
    if corruption.change is not None:
        image = corruption.change(image, amount, random)
    mask, valid = sample.mask, sample.valid
    if corruption.move is not None:
        image = corruption.move(image, amount, random, "bilinear", "border")
        valid = _moved(valid, corruption.move, amount, random)
        mask = None if mask is None else _moved(mask, corruption.move, amount, random)
        if not valid.any():
            # A region of interest of a few pixels at the frame: better the old one than none.
            valid = sample.valid
    values: NDArray[Any] = image[0].clamp(0.0, 1.0).numpy()
    if sample.image.dtype == np.uint8:
        values = np.rint(values * np.float32(255)).astype(np.uint8)
    return sample._replace(image=values, valid=valid, mask=mask)


def _brightness(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """More or less light: every value moves by the same amount."""
    changed: Tensor = adjust_brightness(image, amount * _sign(random))
    return changed


def _contrast(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """Values move towards the image's mean."""
    changed: Tensor = adjust_contrast_with_mean_subtraction(image, amount)
    return changed


def _defocus(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """A point becomes a disk."""
    radius = amount * _scale(image)
    half = max(1, math.ceil(radius))
    offsets = torch.arange(-half, half + 1, dtype=torch.float32)
    distance = (offsets[:, None] ** 2 + offsets**2).sqrt()
    # The rim's pixels count by how much of them the disk covers, about.
    disk = (radius + 0.5 - distance).clamp(0.0, 1.0)
    blurred: Tensor = filter2d(image, (disk / disk.sum())[None], border_type="reflect")
    return blurred


def _motion(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """A point becomes a line of one direction."""
    length = max(3, 2 * round(amount * _scale(image) / 2) + 1)
    angle = float(random.uniform("angle", high=180.0))
    blurred: Tensor = motion_blur(image, length, angle, 0.0, "reflect", "bilinear")
    return blurred


def _noise(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """Normal noise of a sensor: its variance is a constant and a part that grows with light."""
    shape = tuple(image.shape[1:])
    radius = (-2.0 * torch.log(1.0 - random.uniform("noise radius", *shape))).sqrt()
    normal = radius * torch.cos(2.0 * math.pi * random.uniform("noise angle", *shape))
    return image + amount * (0.2 + 0.8 * image).sqrt() * normal


def _jpeg(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """Stored as JPEG and read again, by the library that reads the images themselves."""
    levels = (255.0 * image[0].permute(1, 2, 0)).round().clamp(0, 255).to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=int(amount))
    with Image.open(buffer) as stored:
        back = np.array(stored.convert("RGB"))
    return torch.from_numpy(back.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]


def _shift(image: Tensor, amount: float, random: SampleRandom, mode: str, fill: str) -> Tensor:
    """The part lies elsewhere, in a direction that is drawn."""
    angle = float(random.uniform("direction", high=2.0 * math.pi))
    length = amount * _scale(image)
    way = torch.tensor([[length * math.cos(angle), length * math.sin(angle)]])
    moved: Tensor = translate(image, way, mode, fill, True)
    return moved


def _rotation(image: Tensor, amount: float, random: SampleRandom, mode: str, fill: str) -> Tensor:
    """The part is turned, to a side that is drawn."""
    angle = torch.tensor([amount * _sign(random)])
    moved: Tensor = rotate(image, angle, mode=mode, padding_mode=fill)
    return moved


CORRUPTIONS: Final = (
    Corruption("brightness", (0.05, 0.1, 0.15, 0.2, 0.3), "of the range, up or down", _brightness),
    Corruption("contrast", (0.85, 0.7, 0.55, 0.4, 0.3), "times the contrast", _contrast),
    Corruption("defocus", (0.75, 1.25, 2.0, 3.0, 4.0), "pixels of radius", _defocus),
    Corruption("motion", (3.0, 5.0, 8.0, 12.0, 16.0), "pixels of length", _motion),
    Corruption("noise", (0.01, 0.02, 0.04, 0.07, 0.1), "of the range, deviation", _noise),
    Corruption("jpeg", (90.0, 75.0, 50.0, 30.0, 15.0), "of quality", _jpeg),
    Corruption("shift", (1.0, 2.0, 4.0, 8.0, 12.0), "pixels", move=_shift),
    Corruption("rotation", (0.5, 1.0, 2.0, 3.0, 5.0), "degrees", move=_rotation),
)
"""All corruptions, in the order of the tables."""


def _moved(
    region: NDArray[np.bool_], move: Move, amount: float, random: SampleRandom
) -> NDArray[np.bool_]:
    """A map that moves with its image; nothing comes in from beyond the frame."""
    values = torch.from_numpy(region.astype(np.float32))[None, None]
    # At least half a pixel, the rule of masks; a pixel's rim may fall short by rounding.
    result: NDArray[np.bool_] = move(values, amount, random, "bilinear", "zeros")[0, 0].numpy() >= (
        0.5 - 1e-4
    )
    return result


def _sign(random: SampleRandom) -> float:
    return 1.0 if float(random.uniform("sign")) < 0.5 else -1.0


def _scale(image: Tensor) -> float:
    """Pixels of this image for one of an image whose shorter side has 256."""
    return min(image.shape[-2:]) / 256.0
