"""Common corruptions, what a camera on a line really meets, and a model's figures under them.

Each is a function of the image and of its random numbers. The numbers of the severities
are the project's own choice [O]; lengths are pixels of an image whose shorter side has 256.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product as pairs_of
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
import torch
from kornia.enhance import adjust_brightness, adjust_contrast_with_mean_subtraction
from kornia.filters import filter2d, motion_blur
from kornia.geometry.transform import rotate, translate
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omnial.attacks.pgd import UNATTACKED
from omnial.data.decode import as_unit
from omnial.data.records import Catalogue, ImageRecord, ProductClass
from omnial.evaluation.evaluate import evaluate_model
from omnial.evaluation.sample import Sample
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent
from omnial.robustness.transfer import FIGURES, LevelFigures, mean_of
from omnial.sample_random import SampleRandom

SEVERITIES: Final = (1, 2, 3, 4, 5)

Change = Callable[..., Tensor]
"""Image (1, 3, H, W) float32 in [0, 1], amount, random numbers, to an image of the same kind; what
moves also takes `fill`, which says what comes from beyond the frame."""


class Corruption(NamedTuple):
    """One corruption: its amounts go from weak to strong, and the image's maps may move with it."""

    name: str
    amounts: tuple[float, float, float, float, float]
    change: Change
    moves: bool = False


def corrupt(sample: Sample, corruption: Corruption, severity: int, seed: int) -> Sample:
    """Corrupt one decoded image, at a severity of 1 to 5.

    What is drawn depends on the seed, and on the image's class, kind and file name. 8-bit images
    stay 8-bit, as a camera gives them. Where an image moves, mask and valid pixels move with it,
    and what comes from beyond the frame (the outermost pixels repeated) does not count.
    """
    number = torch.tensor([image_number(sample.record)])
    random = SampleRandom(seed, crc32(corruption.name.encode()), number)
    amount = corruption.amounts[severity - 1]

    def moved(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        values = torch.from_numpy(region.astype(np.float32))[None, None]
        shares = corruption.change(values, amount, random, fill="zeros")[0, 0]
        # At least half a pixel, the rule of masks; a pixel's rim may fall short by rounding.
        return (shares >= 0.5 - 1e-4).numpy()

    image = torch.from_numpy(np.array(as_unit(sample.image)))[None]
    values: NDArray[Any] = corruption.change(image, amount, random)[0].clamp(0.0, 1.0).numpy()
    if sample.image.dtype == np.uint8:
        values = np.rint(values * np.float32(255)).astype(np.uint8)
    if not corruption.moves:
        return sample._replace(image=values)
    valid, mask = moved(sample.valid), None if sample.mask is None else moved(sample.mask)
    # A region of interest of a few pixels at the frame: better the old one than none.
    return sample._replace(image=values, valid=valid if valid.any() else sample.valid, mask=mask)


def image_number(record: ImageRecord) -> int:
    """Number that a test image's random numbers depend on, from its class, kind and file name."""
    name = f"{record.class_name}/{record.kind}/{record.path.name}"
    # A file's name may hold bytes that are no text.
    return crc32(name.encode("utf-8", "surrogateescape"))


def _sign(random: SampleRandom) -> float:
    return 1.0 if float(random.uniform("sign")) < 0.5 else -1.0


def _scale(image: Tensor) -> float:
    """Pixels of this image for one of an image whose shorter side has 256."""
    return min(image.shape[-2:]) / 256.0


def _brightness(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    return adjust_brightness(image, amount * _sign(random))


def _contrast(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    return adjust_contrast_with_mean_subtraction(image, amount)


def _defocus(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    radius = amount * _scale(image)
    half = max(1, math.ceil(radius))
    offsets = torch.arange(-half, half + 1, dtype=torch.float32)
    distance = (offsets[:, None] ** 2 + offsets**2).sqrt()
    # The rim's pixels count by how much of them the disk covers, about.
    disk = (radius + 0.5 - distance).clamp(0.0, 1.0)
    return filter2d(image, (disk / disk.sum())[None], border_type="reflect")


def _motion(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    length = max(3, 2 * round(amount * _scale(image) / 2) + 1)
    angle = float(random.uniform("angle", high=180.0))
    return motion_blur(image, length, angle, 0.0, "reflect", "bilinear")


def _noise(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """Normal noise of a sensor: its variance is a constant and a part that grows with light."""
    normal = random.normal("noise", *image.shape[1:])
    return image + amount * (0.2 + 0.8 * image).sqrt() * normal


def _jpeg(image: Tensor, amount: float, random: SampleRandom) -> Tensor:
    """Stored as JPEG and read again, by the library that reads the images themselves."""
    levels = (255.0 * image[0].permute(1, 2, 0)).round().clamp(0, 255).to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=int(amount))
    with Image.open(buffer) as stored:
        back = np.array(stored.convert("RGB"))
    return torch.from_numpy(back.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]


def _shift(image: Tensor, amount: float, random: SampleRandom, fill: str = "border") -> Tensor:
    angle = float(random.uniform("direction", high=2.0 * math.pi))
    length = amount * _scale(image)
    way = torch.tensor([[length * math.cos(angle), length * math.sin(angle)]])
    return translate(image, way, "bilinear", fill, True)


def _rotation(image: Tensor, amount: float, random: SampleRandom, fill: str = "border") -> Tensor:
    angle = torch.tensor([amount * _sign(random)])
    return rotate(image, angle, mode="bilinear", padding_mode=fill)


CORRUPTIONS: Final = (
    Corruption("brightness", (0.05, 0.1, 0.15, 0.2, 0.3), _brightness),  # of the range, +-
    Corruption("contrast", (0.85, 0.7, 0.55, 0.4, 0.3), _contrast),  # times the contrast
    Corruption("defocus", (0.75, 1.25, 2.0, 3.0, 4.0), _defocus),  # pixels of radius
    Corruption("motion", (3.0, 5.0, 8.0, 12.0, 16.0), _motion),  # pixels of length
    Corruption("noise", (0.01, 0.02, 0.04, 0.07, 0.1), _noise),  # deviation, of the range
    Corruption("jpeg", (90.0, 75.0, 50.0, 30.0, 15.0), _jpeg),  # quality
    Corruption("shift", (1.0, 2.0, 4.0, 8.0, 12.0), _shift, moves=True),  # pixels
    Corruption("rotation", (0.5, 1.0, 2.0, 3.0, 5.0), _rotation, moves=True),  # degrees
)
"""All corruptions, in the order of the tables."""


@dataclass(frozen=True)
class CorruptedFigures:
    """Figures on test images at one severity; None where there are no such images."""

    figures: LevelFigures
    """As for attacks, but PSNR and SSIM compare the reconstructions of good images with these
    images as corrupted: a test image has no other original."""
    false_alarms: float | None
    """Share of the good images that are called defective at the model's own thresholds."""
    missed: float | None
    """Share of the defective images that are called good."""


def evaluate_corrupted(
    model: TrainedModel,
    catalogue: Catalogue,
    batch_size: int = 16,
    progress: Progress = silent,
) -> dict[str, dict[str, CorruptedFigures]]:
    """Evaluate a model on the test images as they are, and under every corruption with seed 0.

    The result is by corruption, then by severity; severity `0` is the same for all: as they are.
    Errors are those of `evaluate_model`.
    """

    def figures(transform: Callable[[Sample], Sample] | None) -> CorruptedFigures:
        result = evaluate_model(
            model, catalogue, batch_size=batch_size, gallery_per_class=0, transform=transform
        )
        images = [image for own in result.classes for image in own.images]
        good = [image.anomalous_verdict for image in images if not image.record.anomalous]
        bad = [not image.anomalous_verdict for image in images if image.record.anomalous]
        classes = {c.name: {name: c.figures[name] for name in FIGURES} for c in result.classes}
        return CorruptedFigures(LevelFigures.over(classes), mean_of(good), mean_of(bad))

    clean = figures(None)
    found = {corruption.name: {UNATTACKED: clean} for corruption in CORRUPTIONS}
    pairs = list(pairs_of(CORRUPTIONS, SEVERITIES))
    for index, (corruption, severity) in enumerate(pairs):
        changed = partial(corrupt, corruption=corruption, severity=severity, seed=0)
        found[corruption.name][str(severity)] = figures(changed)
        progress("corruptions", 2 + index, 1 + len(pairs))
    return found


def subset(product: ProductClass, most: int) -> ProductClass:
    """The class with at most so many test images: half good, half defective, spread evenly."""
    chosen = []
    for anomalous, count in ((False, most // 2), (True, most - most // 2)):
        own = [record for record in product.test if record.anomalous == anomalous]
        picked = np.linspace(0, len(own) - 1, min(count, len(own))).round().astype(int)
        chosen += [own[index] for index in picked]
    return replace(product, test=tuple(chosen))
