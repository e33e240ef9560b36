"""Exact intervals of the false-alarm rate: how well n images determine a threshold.

For exchangeable normal scores without ties, the share of new normal images above the k-th
smallest of n scores is distributed as Beta(n - k + 1, k), whatever the scores' own distribution
(Wilks 1941, "Determination of sample sizes for setting tolerance limits").
"""

from typing import NamedTuple

from scipy.special import betaincinv
from scipy.stats import binomtest

from omnial.models.thresholds import rank

CONFIDENCE = 0.95
"""Probability that an interval covers the true rate. [O]"""
_MOST_IMAGES = 1_000_000


class Interval(NamedTuple):
    """A two-sided interval of a share, both ends in [0, 1]."""

    low: float
    high: float


def false_alarm_interval(n: int, k: int) -> Interval:
    """Where the true false-alarm rate of the k-th smallest of n normal scores as threshold lies.

    The equal-tailed interval of Beta(n - k + 1, k).
    """
    if not 1 <= k <= n:
        raise ValueError(f"rank {k} does not exist among {n} scores")
    low, high = betaincinv(n - k + 1, k, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Interval(float(low), float(high))


def share_interval(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Where a true share lies after `hits` of n >= 1 images (Clopper and Pearson 1934)."""
    found = binomtest(hits, n).proportion_ci(confidence, "exact")
    return Interval(float(found.low), float(found.high))


def images_needed(rate: float, highest: float) -> int | None:
    """The fewest normal images whose threshold keeps the interval's upper end below a limit.

    The threshold is set for the rate; found to within a hundredth, None above a million.
    """
    n = 1
    while n <= _MOST_IMAGES:
        k = rank(n, 1.0 - rate)
        if k is not None and false_alarm_interval(n, k).high <= highest:
            return n
        n += max(1, n // 100)
    return None
