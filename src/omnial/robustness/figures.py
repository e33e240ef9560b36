"""The figures of one class at one level: a model's output against what it should be.

PSNR and SSIM compare the reconstruction with the defect-free original I of every sample, with
and without defect, as the adversarial tables do; never with the attacked sample.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from omnial.errors import RunError
from omnial.metrics import ranking
from omnial.metrics.means import Figures, mean_figures
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.reconstruction import psnr, ssim
from omnial.models.prediction import Backend, Prediction
from omnial.robustness.grid import from_grid
from omnial.robustness.samples import Clean

FIGURES: Final = ("pixel_ap", "pixel_auroc", "psnr", "ssim", "image_auroc")
"""Names of the figures; the first four are the paper's tables, in its order."""


@dataclass(frozen=True)
class LevelFigures:
    """The figures at one level.

    Attributes:
        classes: The figures of each class; None where a class cannot have one.
        mean: Their means over the classes that have them.
    """

    classes: Mapping[str, Figures]
    mean: Figures

    @classmethod
    def over(cls, classes: Mapping[str, Figures]) -> "LevelFigures":
        """Take the means over classes."""
        mean, _ = mean_figures(list(classes.values()), FIGURES)
        return cls(classes, mean)

    def to_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        rows = {name: dict(figures) for name, figures in self.classes.items()}
        return {"classes": rows, "mean": dict(self.mean)}


class FigureCollector:
    """Collects the predictions for the samples of one class, batch by batch.

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

    def add(self, clean: Clean, prediction: Prediction) -> None:
        """Add a batch.

        Args:
            clean: The samples before the attack.
            prediction: Of the samples after it.

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
    backend: Backend,
    batches: Iterable[tuple[Clean, Mapping[str, NDArray[np.float32]]]],
    levels: Sequence[str],
    samples: int,
) -> dict[str, dict[str, float | None]]:
    """The figures of one class at several levels.

    Args:
        backend: The engine with the evaluated network.
        batches: Samples with their images (n, 3, H, W) at each level.
        levels: The levels.
        samples: Number of samples in all batches.

    Returns:
        The figures of each level.
    """
    collectors: dict[str, FigureCollector] = {}
    for clean, images in batches:
        for level in levels:
            if level not in collectors:
                collectors[level] = FigureCollector(samples, clean.mask[0].size)
            collectors[level].add(clean, backend.run(images[level], clean.valid))
    return {level: collector.finish() for level, collector in collectors.items()}
