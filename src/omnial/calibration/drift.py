"""Whether recent normal images still score like those that the thresholds were set from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

from omnial.calibration.intervals import Interval, share_interval
from omnial.calibration.thresholds import is_anomalous

SIGNIFICANCE = 0.01
"""Probability of calling a drift where there is none, over all classes together. [O]"""


@dataclass(frozen=True)
class Drift:
    """The scores of one product then and now."""

    reference: int
    """Scores of the calibration."""
    recent: int
    """Scores of the recent images."""
    threshold: float
    above: int
    """Recent images above the threshold, which are false alarms if all are normal."""
    interval: Interval
    """Of the share of such images."""
    statistic: float
    """Kolmogorov-Smirnov: the largest difference of the two distribution functions."""
    p_value: float
    """Probability of a difference at least that large without drift."""
    shift: float
    """Recent median minus the calibration's median."""
    different: bool
    """The two distributions differ."""
    more_alarms: bool
    """The share above the threshold is surely larger than the rate that was chosen."""

    @property
    def drifted(self) -> bool:
        """Whether the thresholds should be looked at."""
        return self.different or self.more_alarms


def compare(
    reference: ArrayLike, recent: ArrayLike, threshold: float, rate: float, *, tests: int = 1
) -> Drift:
    """Compare the scores of recent normal images with those of the calibration.

    Args:
        reference: (n,) scores that the threshold was set from.
        recent: (m,) scores of recent images that are known, or assumed, to be normal.
        threshold: The threshold in use.
        rate: The false-alarm rate that it was set for.
        tests: Comparisons of this kind made at once; the significance is shared among them
            (Bonferroni).

    Raises:
        ValueError: A sample is empty or not finite.
    """
    before, now = _sample(reference), _sample(recent)
    level = SIGNIFICANCE / tests
    above = sum(is_anomalous(score, threshold) for score in now.tolist())
    result = ks_2samp(before, now)
    interval = share_interval(above, now.size)
    # One-sided, at the shared significance: the tail below the share is what counts.
    surely = share_interval(above, now.size, 1.0 - 2.0 * level)
    return Drift(
        reference=before.size,
        recent=now.size,
        threshold=threshold,
        above=above,
        interval=interval,
        statistic=float(result.statistic),
        p_value=float(result.pvalue),
        shift=float(np.median(now) - np.median(before)),
        different=bool(result.pvalue < level),
        more_alarms=surely.low > rate,
    )


def _sample(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError("a sample of scores must be one-dimensional, finite and not empty")
    return values
