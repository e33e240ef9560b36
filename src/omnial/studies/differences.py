"""What a study can say about two rows: their difference, with an interval, and a verdict.

Two sources of chance are counted. Other test images would give other figures: that is the variance
over the bootstrap resamples of the images, which both rows share, of the difference of the means
over classes and seeds. Another training would give other figures: that is the variance between the
seeds of a row. What the images mean to one training alone is in both, so it is taken out of the
first: half of the variance over the resamples of two seeds' difference, by the number of seeds. Two
seeds say next to nothing about their own row's, so it is pooled over all rows, and replaced by the
two rows' own where that is larger. Both add up; the interval is the difference plus and minus
Student's t times the root of the sum, with Welch's and Satterthwaite's degrees of freedom.
"""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from scipy.special import stdtrit

from omnial.studies.row_figures import RowFigures

LEVEL: Final = 0.95
MOST_SEEDS: Final = 20
"""More seeds than this are not asked for by their number."""

_MANY = 1e9  # degrees of freedom of what is known


class Difference(NamedTuple):
    """The higher of two rows minus the lower, in percentage points of a metric."""

    lower: RowFigures
    higher: RowFigures
    value: float
    half_width: float | None
    """Of the 95 % interval around the value; None where the results do not give one."""
    verdict: str
    """`holds`, `reversed`, or `undecided` and what would decide."""


def differences(rows: Sequence[RowFigures], metric: str) -> list[Difference]:
    """Neighbours, among the rows that have finished seeds, in the expected order.

    The order is the published one of the metric; a row without a published figure has no place in
    it. Rows that differ in their number of images stand in that order.
    """
    there = [row for row in rows if row.values(metric)]
    ranked = [row for row in there if metric in row.row.published]
    ranked.sort(key=lambda row: row.row.published[metric])
    if not ranked:
        ranked = [row for row in there if row.row.images is not None]
    spread = variance([row.values(metric) for row in rows])
    return [_difference(low, high, metric, spread) for low, high in pairwise(ranked)]


def variance(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Variance within groups, pooled, and its degrees of freedom; 0 degrees where none has two."""
    several = [values for values in groups if len(values) > 1]
    degrees = sum(len(values) - 1 for values in several)
    squares = sum((len(values) - 1) * statistics.variance(values) for values in several)
    return (squares / degrees if degrees else 0.0), degrees


def half_width(images: float, seeds: float, degrees: float) -> float:
    """Half of the interval from the variances of a difference by test images and by seeds.

    `degrees` are those of the second; the first counts as known.
    """
    total = images + seeds
    own = degrees * (total / seeds) ** 2 if seeds > 0 else _MANY
    return float(stdtrit(min(own, _MANY), 0.5 + LEVEL / 2)) * math.sqrt(total)


def _difference(
    low: RowFigures, high: RowFigures, metric: str, spread: tuple[float, int]
) -> Difference:
    lower, higher = low.values(metric), high.values(metric)
    value = statistics.fmean(higher) - statistics.fmean(lower)
    below, above = low.resampled(metric), high.resampled(metric)
    if below is None or above is None:
        return Difference(low, high, value, None, "undecided: kept without resamples")
    if not spread[1]:
        return Difference(low, high, value, None, "undecided: one seed")
    own = sum(row.variance_of_one_seed(metric) / len(row.seeds) for row in (low, high))
    images = max(float(np.var(above - below, ddof=1)) - own, 0.0)
    seeds, degrees = max(spread, variance([lower, higher]))

    def half(first: int, second: int, degrees: float) -> float:
        return half_width(images, seeds * (1 / first + 1 / second), degrees)

    fewest, width = min(len(lower), len(higher)), half(len(lower), len(higher), degrees)
    # Among numbers of images, leaving the plateau is what makes the difference.
    flat = [r.row.label for r in (low, high) if r.on_plateau and r.row.images is None]
    if flat:
        verdict = f"undecided: {' and '.join(flat)} on the plateau"
    elif fewest < 2:
        verdict = "undecided: one seed"
    elif abs(value) > width:
        verdict = "holds" if value > 0 else "reversed"
    elif abs(value) <= half_width(images, 0.0, 0.0):
        verdict = "undecided: too few test images for any number of seeds"
    else:
        # The other rows would get as many seeds, and the variance as many degrees of freedom.
        more = range(fewest + 1, MOST_SEEDS + 1)
        enough = (n for n in more if half(n, n, degrees * (n - 1) / (fewest - 1)) < abs(value))
        count = next(enough, None)
        seeds_text = f"more than {MOST_SEEDS}" if count is None else str(count)
        verdict = f"undecided: {seeds_text} seeds would decide, if it stays"
    return Difference(low, high, value, width, verdict)
