"""`omnial drift`: do recent normal images still score like those that thresholds were set from?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import ks_2samp

from omnial.calibration.calibrate_folder import Interval, score_normals, share_interval
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.config_file import read_config
from omnial.models.thresholds import is_anomalous
from omnial.progress import Progress, silent

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
    drifted: bool
    """One of the two: the thresholds should be looked at."""


def compare_scores(
    reference: Sequence[float],
    recent: Sequence[float],
    threshold: float,
    rate: float,
    *,
    tests: int = 1,
) -> Drift:
    """Compare one or more scores of recent normal images with those of the calibration.

    `threshold` was set for the false-alarm rate `rate`. The significance is shared among the
    `tests` that are made at once (Bonferroni).
    """
    level = SIGNIFICANCE / tests
    above = sum(is_anomalous(score, threshold) for score in recent)
    result = ks_2samp(reference, recent)
    different = bool(result.pvalue < level)
    # One-sided, at the shared significance: the tail below the share is what counts.
    more_alarms = share_interval(above, len(recent), 1.0 - 2.0 * level).low > rate
    return Drift(
        reference=len(reference),
        recent=len(recent),
        threshold=threshold,
        above=above,
        interval=share_interval(above, len(recent)),
        statistic=float(result.statistic),
        p_value=float(result.pvalue),
        shift=float(np.median(recent) - np.median(reference)),
        different=different,
        more_alarms=more_alarms,
        drifted=different or more_alarms,
    )


@dataclass(frozen=True)
class DriftReport:
    """Result of a drift check."""

    classes: Mapping[str, Drift]
    drifted: bool
    """Whether any class did."""
    false_alarm_rate: float
    not_compared: tuple[str, ...]
    """Classes of which the folder keeps no scores."""
    trained: Mapping[str, int]
    """Images of each class that were left out: the network was trained on them."""
    bad_files: tuple[BadFile, ...]
    significance: float = SIGNIFICANCE

    def to_dict(self) -> dict[str, object]:
        """What `omnial drift --json` prints."""
        return asdict(self)


def check_drift(
    folder: Path,
    roots: Sequence[Path],
    *,
    class_name: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    reading: Reading = AS_TRAINED,
    progress: Progress = silent,
) -> DriftReport:
    """Compare recent normal images with the calibration's, inspected in the same way.

    Arguments are those of `calibrate_folder`. A UserError says that the folder or data is bad, or
    that there is nothing to compare.
    """
    inspector = Inspector(folder, device=device, batch_size=batch_size, reading=reading)
    calibration, trained = inspector.calibration, read_config(folder).trained_files
    found = score_normals(inspector, roots, trained, class_name, progress=progress)
    compared = {n: recent for n, recent in found.scores.items() if recent and calibration.scores[n]}
    if not compared:
        raise UserError(
            f"Nothing to compare: {folder} keeps no scores of {', '.join(found.scores)}, or no "
            "recent image could be read. Calibrate with images of these classes first."
        )
    rate = calibration.false_alarm_rate
    classes = {
        name: compare_scores(
            *(calibration.scores[name], recent, calibration.threshold_for(name), rate),
            tests=len(compared),
        )
        for name, recent in compared.items()
    }
    return DriftReport(
        classes=classes,
        drifted=any(drift.drifted for drift in classes.values()),
        false_alarm_rate=rate,
        not_compared=tuple(sorted(set(found.scores) - set(compared))),
        trained=found.trained,
        bad_files=found.bad_files,
    )
