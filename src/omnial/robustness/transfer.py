"""Figures of a model on an adversarial set, the paper's protocol: one set given to every model.

Next to them stand the published figures (supplement, Tables 8 to 11).

PSNR and SSIM compare the reconstruction with the defect-free original I of every sample, with
and without defect, as the paper's tables do; never with the attacked sample.
"""

import csv
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.attacks.pgd import UNATTACKED
from omnial.errors import UserError
from omnial.metrics import ranking
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.psnr_ssim import psnr, ssim
from omnial.metrics.ranking import Figures, mean_figures
from omnial.models.prediction import Backend, Prediction
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.clean_samples import SetSamples, from_grid
from omnial.synthesis.jnd import jnd_levels, luma

FIGURES: Final = ("pixel_ap", "pixel_auroc", "psnr", "ssim", "image_auroc")
"""Names of the figures; the first four are the paper's tables, in its order."""

SampleBatches = Iterable[tuple[SetSamples, Mapping[str, NDArray[np.float32]]]]
"""Samples of one class with their images (n, 3, H, W) at each level."""

CAVEATS: Final = (
    "The published figures are of MVTec AD, with the authors' surrogate and samples: they stand "
    "here for orientation, and are no result of this software.",
    "DRAEM's pixel AP at 8t is printed as 22.3, while the mean of its column is 23.2.",
    "The published PSNR and SSIM drift from class to class as running means would. If that is "
    "what they are, the last row (zipper) is the mean over classes and the printed average is "
    "not; both are quoted.",
)
"""What a reader must know about the published figures."""

LABELS: Final = MappingProxyType({"draem": "DRAEM", "jnld": "JNLD", "omnial": "OmniAL"})
"""The published systems as the paper calls them."""


class Published(NamedTuple):
    """One published average, in percent, dB, or 0..1 for SSIM."""

    metric: str
    """`pixel_ap`, `pixel_auroc`, `psnr` or `ssim`, as in our own tables."""
    level: str
    system: str
    printed_average: float
    mean_of_rows: float
    """Mean of the fifteen rows of the printed column."""
    last_row: float
    """The row of zipper."""


@cache
def published_figures() -> Mapping[tuple[str, str, str, str], float]:
    """Every number of the paper's tables, by metric, level, system and class of MVTec AD.

    The class `average` is the printed average.
    """
    text = (resources.files("omnial.robustness") / "published.csv").read_text("utf-8")
    figures = {
        (row["metric"], row["level"], system, row["class"]): float(row[system])
        for row in csv.DictReader(text.splitlines())
        for system in LABELS
    }
    return MappingProxyType(figures)


@cache
def published() -> tuple[Published, ...]:
    """Every published average, in the order of the paper's tables."""
    columns: dict[tuple[str, str, str], dict[str, float]] = {}
    for (metric, level, system, name), value in published_figures().items():
        columns.setdefault((metric, level, system), {})[name] = value
    averages = []
    for column, figures in columns.items():
        printed, digits = figures.pop("average"), 3 if column[0] == "ssim" else 1
        mean = round(statistics.fmean(figures.values()), digits)
        averages.append(Published(*column, printed, mean, figures["zipper"]))
    return tuple(averages)


@dataclass(frozen=True)
class LevelFigures:
    """Figures at one level, of each class and their means; None where there cannot be one."""

    classes: Mapping[str, Figures]
    mean: Figures

    @classmethod
    def over(cls, classes: Mapping[str, Figures]) -> "LevelFigures":
        """Take the means over the classes that have a figure."""
        mean, _ = mean_figures(list(classes.values()), FIGURES)
        return cls(classes, mean)


class _Collector:
    """Figures of one class at one level, collected batch by batch."""

    def __init__(self) -> None:
        self._pixels = PixelFigures()
        self._anomalous: list[bool] = []
        self._values: dict[str, list[float]] = {"score": [], "psnr": [], "ssim": []}

    def add(self, clean: SetSamples, prediction: Prediction) -> None:
        """Add a batch: the samples before the attack, and the prediction for them after it."""
        # One kind: every sample's normal pixels count, as in the paper's tables.
        for maps, mask, valid in zip(prediction.score_maps, clean.mask, clean.valid, strict=True):
            self._pixels.add("sample", maps, mask if mask.any() else None, valid)
            self._anomalous.append(bool(mask.any()))
        self._values["score"] += prediction.scores.tolist()
        if prediction.reconstruction is not None:
            pair = (prediction.reconstruction, from_grid(clean.normal), clean.valid)
            self._values["psnr"] += psnr(*pair).tolist()
            self._values["ssim"] += ssim(*pair).tolist()

    def finish(self) -> Figures:
        """The figures; None where the samples cannot have one. Call this once."""
        pixels = self._pixels.finish().figures
        counts = ranking.count(self._values["score"], self._anomalous)
        return {
            "pixel_ap": pixels["pixel_ap"],
            "pixel_auroc": pixels["pixel_auroc"],
            "psnr": mean_of(self._values["psnr"]),
            "ssim": mean_of(self._values["ssim"]),
            "image_auroc": None if counts is None else ranking.auroc(counts),
        }


def mean_of(values: Sequence[float]) -> float | None:
    """The mean; None of no value."""
    return float(np.mean(values)) if values else None


def figures_of_classes(
    backend: Callable[[str], Backend],
    classes: Sequence[str],
    batches: Callable[[str], SampleBatches],
) -> dict[str, LevelFigures]:
    """Figures by level of what `batches` gives for each class.

    A score that is not finite is a RunError.
    """
    found: dict[str, dict[str, Figures]] = {}
    for class_name in classes:
        collectors: dict[str, _Collector] = {}
        engine = backend(class_name)
        for clean, images in batches(class_name):
            for level, values in images.items():
                collector = collectors.setdefault(level, _Collector())
                collector.add(clean, engine.run(values, clean.valid).checked())
        for level, collector in collectors.items():
            found.setdefault(level, {})[class_name] = collector.finish()
    return {level: LevelFigures.over(figures) for level, figures in found.items()}


def evaluate_on_set(
    backend: Callable[[str], Backend],
    data: AdversarialSet,
    batch_size: int = 16,
    progress: Progress = silent,
) -> dict[str, LevelFigures]:
    """Figures of a model at level `0` (unattacked) and at each level of a set.

    `backend` gives the engine for each class. A score that is not finite is a RunError.
    """
    levels, done = (UNATTACKED, *(level.name for level in data.levels)), 0

    def batches(class_name: str) -> SampleBatches:
        nonlocal done
        for batch in data.batches(class_name, batch_size):
            yield batch, {name: batch.images(name) for name in levels}
            done += len(batch)
            progress("transfer", done, data.identity.samples * len(data.classes))

    return figures_of_classes(backend, data.classes, batches)


def check_fits(model: TrainedModel, name: str, data: AdversarialSet) -> None:
    """Refuse a model that sees images of another size, or has not learned one of the classes."""
    settings, identity = model.settings.data, data.identity
    if (settings.height, settings.width) != data.size or settings.geometry != identity.geometry:
        raise UserError(
            f"{name}: the model sees images of {settings.height} x {settings.width} pixels "
            f"({settings.geometry}), the set in {data.folder} has {data.size[0]} x "
            f"{data.size[1]} ({identity.geometry}). Attack a surrogate of the model's size, or "
            "train the model at the set's."
        )
    unknown = [product for product in data.classes if product not in model.classes]
    if unknown:
        raise UserError(
            f"{name}: the model has not learned {', '.join(unknown)}, which the set in "
            f"{data.folder} holds. Give models that were trained on all its classes."
        )


PERCEPTION: Final = ("psnr", "ssim", "within_jnd", "channels_within_jnd", "mean_change")
"""Distance of attacked samples A_adv from clean ones A, means over samples: PSNR in dB, SSIM, the
share of pixels whose change of luma is at most the JND of A there, the share of those of which
every channel changes by at most that, and the mean absolute change of a value in grey levels."""


def measure_perception(
    data: AdversarialSet, batch_size: int = 16
) -> dict[str, dict[str, dict[str, float]]]:
    """`PERCEPTION` of every level of a set, by class; `mean` is the mean over classes."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for level in data.levels:
        rows: dict[str, NDArray[np.float64]] = {}
        for class_name in data.classes:
            samples = [
                _perceived(batch.images(), batch.images(level.name))
                for batch in data.batches(class_name, batch_size)
            ]
            rows[class_name] = np.concatenate(samples).mean(axis=0)
        rows["mean"] = np.mean(list(rows.values()), axis=0)
        found[level.name] = {
            name: dict(zip(PERCEPTION, row.tolist(), strict=True)) for name, row in rows.items()
        }
    return found


def _perceived(clean: NDArray[np.float32], attacked: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 5): `PERCEPTION` of each sample."""
    before, after = torch.from_numpy(clean), torch.from_numpy(attacked)
    change, jnd = 255.0 * (after - before), jnd_levels(before)
    shares = (
        ((255.0 * (luma(after) - luma(before))).abs() <= jnd).double(),
        (change.abs().amax(1, keepdim=True) <= jnd).double(),
        change.double().abs(),
    )
    means = (share.mean((1, 2, 3)).numpy() for share in shares)
    return np.stack([psnr(attacked, clean), ssim(attacked, clean), *means], axis=1)
