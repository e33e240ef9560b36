"""Exact ranking figures and curves from counts at falling thresholds.

A sample is called anomalous where its score is at or above the threshold. Samples of equal score
pass the threshold together, so ties count as scikit-learn counts them: as one step of the curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CURVE_POINTS = 500
"""Most points that a stored curve has."""

Figures = Mapping[str, float | None]
"""Figures by name; None where the images at hand cannot have the figure."""


@dataclass(frozen=True)
class Curve:
    """A curve of n <= 500 points, both (n,) float64; x never falls."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class Counts(NamedTuple):
    """How many samples are called anomalous at each threshold, highest threshold first.

    Both are (n,) int64 and count the samples at or above the threshold. The last threshold is the
    lowest score, so the last counts are the numbers of anomalous and of normal samples.
    """

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """Number of anomalous samples."""
        return int(self.true_positives[-1])

    @property
    def negatives(self) -> int:
        """Number of normal samples."""
        return int(self.false_positives[-1])


def count(scores: ArrayLike, labels: ArrayLike) -> Counts | None:
    """Counts at every distinct score; None where all samples are of one label.

    Scores are (n,) floats, higher is more anomalous, labels (n,) booleans, True is anomalous. A
    ValueError says that a score is not finite, or that the two differ in shape.
    """
    values = np.asarray(scores)  # float32 is sorted twice as fast as float64
    truth = np.asarray(labels, dtype=np.bool_)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores {values.shape} and labels {truth.shape} must be of one length")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    if truth.all() or not truth.any():
        return None
    # Sorting values is several times as fast as ordering them together with their labels.
    ordered, anomalous = np.sort(values), np.sort(values[truth])
    starts = np.append(0, np.flatnonzero(np.diff(ordered)) + 1)  # of each distinct score
    below = np.searchsorted(anomalous, ordered[starts])
    true_positives = (anomalous.size - below)[::-1]
    return Counts(true_positives, (ordered.size - starts)[::-1] - true_positives)


def auroc(counts: Counts) -> float:
    """Area under the ROC curve, by the trapezoid rule in whole numbers."""
    heights = counts.true_positives + np.concatenate(([0], counts.true_positives[:-1]))
    twice_area = int(np.dot(np.diff(counts.false_positives, prepend=0), heights))
    return twice_area / (2 * counts.positives * counts.negatives)


def average_precision(counts: Counts) -> float:
    """Sum over thresholds of (recall step) x precision, without interpolation."""
    gained = np.diff(counts.true_positives, prepend=0)
    precision = counts.true_positives / (counts.true_positives + counts.false_positives)
    return float(np.dot(gained, precision) / counts.positives)


def f1_max(counts: Counts) -> float:
    """Highest F1 of any threshold."""
    return float(np.max(f1(counts.true_positives, counts.false_positives, counts.positives)))


def f1(
    true_positives: NDArray[np.int64], false_positives: NDArray[np.int64], positives: int
) -> NDArray[np.float64]:
    """F1 of each threshold, 2 TP / (TP + FP + positives); any one shape."""
    return 2.0 * true_positives / (true_positives + false_positives + positives)


def roc_curve(counts: Counts) -> Curve:
    """False positive rate (x) against true positive rate (y), from (0, 0) to (1, 1), thinned."""
    false = np.append(0.0, counts.false_positives / counts.negatives)
    return thin(Curve(false, np.append(0.0, counts.true_positives / counts.positives)))


def pr_curve(counts: Counts) -> Curve:
    """Recall (x) against precision (y), from (0, 1) as scikit-learn draws it, thinned."""
    precision = counts.true_positives / (counts.true_positives + counts.false_positives)
    recall = np.append(0.0, counts.true_positives / counts.positives)
    return thin(Curve(recall, np.append(1.0, precision)))


def thin(curve: Curve, points: int = CURVE_POINTS) -> Curve:
    """At most `points` of the curve's own points, evenly along its length, both ends kept."""
    if curve.x.size <= points:
        return curve
    steps = np.hypot(np.diff(curve.x), np.diff(curve.y))
    along = np.append(0.0, np.cumsum(steps))
    # Whole points are kept: an interpolated one would lie on no threshold.
    chosen = np.searchsorted(along, np.linspace(0.0, along[-1], points - 1), side="left")
    chosen = np.unique(np.append(np.minimum(chosen, curve.x.size - 1), curve.x.size - 1))
    return Curve(curve.x[chosen], curve.y[chosen])


def mean_figures(
    rows: Sequence[Figures], names: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, int]]:
    """The mean of each named figure over the rows that have it, and how many those are."""
    values = {name: [value for row in rows if (value := row[name]) is not None] for name in names}
    means = {name: float(np.mean(some)) if some else None for name, some in values.items()}
    return means, {name: len(some) for name, some in values.items()}
