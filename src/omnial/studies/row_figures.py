"""A row's figures, seed by seed, from its result files."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from omnial.evaluation.result import FIGURES
from omnial.metrics.ranking import mean_figures
from omnial.studies.study_rows import WORDS, Row

STEP: Final = 1e-4
"""Replicates are kept as whole numbers of this, which is a hundredth of a percentage point."""

SHARP: Final = 20.0
"""PSNR in dB below which a reconstruction is still flat; one of plain grey has 15.6 on our seven
real classes. [O]"""
ERASED: Final = 0.5
"""Share of drawn defects taken away below which it is so as well. [O]"""

Replicates = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Figures of resamples, (R,) in 0..1, by class and metric."""


class SeedFigures(NamedTuple):
    """Figures of a row with one seed."""

    mean: Mapping[str, float]
    """Means over classes in percent, those of `WORDS` that the classes can have."""
    classes: Mapping[str, Mapping[str, float | None]]
    """Each class's figures in 0..1."""
    results: Sequence[Mapping[str, Any]]
    """The result files: one, or one for each class of a separate row."""
    replicates: Replicates
    """Of the classes whose results have them: earlier ones have not."""

    @classmethod
    def of(cls, results: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> "SeedFigures":
        """The figures of some classes from the result files of one row and seed."""
        found = {n: values for r in results for n, values in r["figures"]["classes"].items()}
        chosen = {name: found[name] for name in classes}
        mean, _ = mean_figures(list(chosen.values()), FIGURES)
        percent = {name: 100.0 * value for name in WORDS if (value := mean[name]) is not None}
        kept = {n: texts for r in results for n, texts in r.get("replicates", {}).items()}
        replicates = {
            name: {metric: from_text(text) for metric, text in kept[name].items()}
            for name in classes
            if name in kept
        }
        return cls(percent, chosen, results, replicates)

    @property
    def psnr(self) -> float | None:
        """Of the reconstruction of good test images, in dB, mean over classes."""
        return _mean(figures.get("psnr") for figures in self.classes.values())

    @property
    def erased(self) -> float | None:
        """Share of drawn defects that the reconstruction takes away, from the validation."""
        return _mean(r["validation"].get("mean", {}).get("erased") for r in self.results)

    def resampled(self, metric: str) -> NDArray[np.float64] | None:
        """A metric in percent in each resample, (R,), mean over the classes that have it.

        None where a result was kept without.
        """
        names = [name for name, figures in self.classes.items() if figures.get(metric) is not None]
        values = [self.replicates.get(name, {}).get(metric) for name in names]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(names):
            return None
        return np.asarray(100.0 * np.mean(known, axis=0))


class RowFigures(NamedTuple):
    """A row with the figures of its finished seeds."""

    row: Row
    seeds: Sequence[SeedFigures]

    def values(self, metric: str) -> list[float]:
        """A metric in percent, of every finished seed that has it."""
        return [seed.mean[metric] for seed in self.seeds if metric in seed.mean]

    @property
    def on_plateau(self) -> bool:
        """Whether the reconstruction of a seed is still flat, see `SHARP` and `ERASED`."""
        return any(
            (seed.psnr is not None and seed.psnr < SHARP)
            or (seed.erased is not None and seed.erased < ERASED)
            for seed in self.seeds
        )

    def resampled(self, metric: str) -> NDArray[np.float64] | None:
        """Mean over the seeds of `SeedFigures.resampled`; None where a seed has none."""
        values = [seed.resampled(metric) for seed in self.seeds]
        known = [value for value in values if value is not None]
        return np.mean(known, axis=0) if known and len(known) == len(values) else None

    def variance_of_one_seed(self, metric: str) -> float:
        """What the choice of images adds to the variance of one seed and no other; 0 for one seed.

        Half of the variance over the resamples of the difference of two seeds, the mean over pairs.
        """
        known = [seed.resampled(metric) for seed in self.seeds]
        pairs = [(a, b) for a, b in combinations(known, 2) if a is not None and b is not None]
        return statistics.fmean(np.var(a - b, ddof=1) / 2 for a, b in pairs) if pairs else 0.0


def to_text(values: NDArray[np.float64]) -> str:
    """Replicates (R,) in 0..1 as whole numbers of `STEP` in a line, which a result file keeps."""
    return " ".join(str(round(value / STEP)) for value in values.tolist())


def from_text(text: str) -> NDArray[np.float64]:
    """The replicates of such a line."""
    return STEP * np.array(text.split(), dtype=np.float64)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
