"""Figures of a model on an adversarial set, the paper's protocol: one set given to every model.

PSNR and SSIM compare the reconstruction with the defect-free original I of every sample, with
and without defect, as the paper's tables do; never with the attacked sample.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.attacks.ball import UNATTACKED
from omnial.errors import RunError, UserError
from omnial.metrics import ranking
from omnial.metrics.means import Figures, mean_figures
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.reconstruction import psnr, ssim
from omnial.models.prediction import Backend, Prediction
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.clean_samples import CleanSamples, from_grid
from omnial.synthesis.jnd import jnd_levels, luma

FIGURES: Final = ("pixel_ap", "pixel_auroc", "psnr", "ssim", "image_auroc")
"""Names of the figures; the first four are the paper's tables, in its order."""

SampleBatches = Iterable[tuple[CleanSamples, Mapping[str, NDArray[np.float32]]]]
"""Samples of one class with their images (n, 3, H, W) at each level."""


@dataclass(frozen=True)
class LevelFigures:
    """Figures at one level.

    Attributes:
        classes: Figures of each class; None where a class cannot have one.
        mean: Their means over the classes that have them.
    """

    classes: Mapping[str, Figures]
    mean: Figures

    @classmethod
    def over(cls, classes: Mapping[str, Figures]) -> "LevelFigures":
        """Take the means over classes."""
        mean, _ = mean_figures(list(classes.values()), FIGURES)
        return cls(classes, mean)


class FigureCollector:
    """Figures of one class at one level, collected batch by batch.

    Args:
        samples: Number of samples in all.
        pixels: Pixels of one sample.
    """

    def __init__(self, samples: int, pixels: int) -> None:
        self._pixels = PixelFigures({"sample": samples * pixels})
        self._scores: list[float] = []
        self._anomalous: list[bool] = []
        self._psnr: list[float] = []
        self._ssim: list[float] = []

    def add(self, clean: CleanSamples, prediction: Prediction) -> None:
        """Add a batch: the samples before the attack, and the prediction for them after it.

        Raises:
            RunError: A score is not finite.
        """
        if not (np.isfinite(prediction.score_maps).all() and np.isfinite(prediction.scores).all()):
            raise RunError("The scores are not finite numbers: the model is of no use.")
        # One kind: every sample's normal pixels count, as in the paper's tables.
        for row in range(len(clean)):
            maps, mask, valid = prediction.score_maps[row], clean.mask[row], clean.valid[row]
            self._pixels.add("sample", maps, mask if mask.any() else None, valid)
        self._scores += prediction.scores.tolist()
        self._anomalous += [bool(mask.any()) for mask in clean.mask]
        if prediction.reconstruction is not None:
            normal = from_grid(clean.normal)
            self._psnr += psnr(prediction.reconstruction, normal, clean.valid).tolist()
            self._ssim += ssim(prediction.reconstruction, normal, clean.valid).tolist()

    def finish(self) -> dict[str, float | None]:
        """The figures; None where the samples cannot have one. Call this once."""
        pixels = self._pixels.finish().figures
        counts = ranking.count(self._scores, self._anomalous)
        return {
            "pixel_ap": pixels["pixel_ap"],
            "pixel_auroc": pixels["pixel_auroc"],
            "psnr": float(np.mean(self._psnr)) if self._psnr else None,
            "ssim": float(np.mean(self._ssim)) if self._ssim else None,
            "image_auroc": None if counts is None else ranking.auroc(counts),
        }


def class_figures(
    backend: Backend, batches: SampleBatches, levels: Sequence[str], samples: int
) -> dict[str, dict[str, float | None]]:
    """Figures of one class at several levels; `samples` is the number in all batches."""
    collectors: dict[str, FigureCollector] = {}
    for clean, images in batches:
        for level in levels:
            if level not in collectors:
                collectors[level] = FigureCollector(samples, clean.mask[0].size)
            collectors[level].add(clean, backend.run(images[level], clean.valid))
    return {level: collector.finish() for level, collector in collectors.items()}


def evaluate_on_set(
    backend: Backend, data: AdversarialSet, batch_size: int = 16, progress: Progress = silent
) -> dict[str, LevelFigures]:
    """Evaluate a model on every level of a set, and on the samples before the attack.

    Returns:
        Figures of level `0` (unattacked) and of each level of the set.
    """
    levels = (UNATTACKED, *(level.name for level in data.levels))
    rows: dict[str, dict[str, Figures]] = {name: {} for name in levels}
    count = data.identity.samples
    for index, class_name in enumerate(data.classes):

        def batches(class_name: str = class_name, before: int = index * count) -> SampleBatches:
            for batch in data.batches(class_name, batch_size):
                yield batch.clean, {name: batch.images(name) for name in levels}
                done = before + batch.clean.numbers[-1] + 1
                progress("transfer", done, count * len(data.classes))

        for name, figures in class_figures(backend, batches(), levels, count).items():
            rows[name][class_name] = figures
    return {name: LevelFigures.over(classes) for name, classes in rows.items()}


def check_fits(model: TrainedModel, name: str, data: AdversarialSet) -> None:
    """Refuse a model that the set was not made for.

    Raises:
        UserError: It sees images of another size, or has not learned one of the classes.
    """
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


@dataclass(frozen=True)
class Perception:
    """Distance of attacked samples from clean ones: how imperceptible a perturbation is.

    All are means over samples.

    Attributes:
        psnr: PSNR of A_adv against A in dB.
        ssim: SSIM of A_adv against A.
        within_jnd: Share of pixels whose change of luma is at most the JND of A there.
        channels_within_jnd: Share of pixels of which every channel changes by at most the JND, a
            stricter reading.
        mean_change: Mean absolute change of a value, in grey levels.
    """

    psnr: float
    ssim: float
    within_jnd: float
    channels_within_jnd: float
    mean_change: float


def measure_perception(
    data: AdversarialSet, batch_size: int = 16
) -> dict[str, dict[str, Perception]]:
    """Measure the perception of every level of a set.

    Returns:
        By level, then by class; the class `mean` is the mean over classes.
    """
    found: dict[str, dict[str, Perception]] = {}
    for level in data.levels:
        rows = {
            class_name: np.concatenate(
                [
                    _perceived(batch.images(UNATTACKED), batch.images(level.name))
                    for batch in data.batches(class_name, batch_size)
                ]
            ).mean(axis=0)
            for class_name in data.classes
        }
        rows["mean"] = np.mean(list(rows.values()), axis=0)
        found[level.name] = {name: Perception(*row.tolist()) for name, row in rows.items()}
    return found


def _perceived(clean: NDArray[np.float32], attacked: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 5): the fields of `Perception` for each sample."""
    before, after = torch.from_numpy(clean), torch.from_numpy(attacked)
    change = 255.0 * (after - before)
    jnd = jnd_levels(before)
    within = (255.0 * (luma(after) - luma(before))).abs() <= jnd
    channels_within = change.abs().amax(1, keepdim=True) <= jnd
    return np.stack(
        [
            psnr(attacked, clean),
            ssim(attacked, clean),
            within.double().mean((1, 2, 3)).numpy(),
            channels_within.double().mean((1, 2, 3)).numpy(),
            change.double().abs().mean((1, 2, 3)).numpy(),
        ],
        axis=1,
    )
