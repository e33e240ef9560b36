"""`omnial drift`: do recent normal images still score as those that thresholds were set from?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omnial.calibration.drift import SIGNIFICANCE, Drift, compare
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.inference.normal_scores import score_normals
from omnial.model_folder.config_file import read_config


@dataclass(frozen=True)
class DriftReport:
    """What a drift check found."""

    classes: Mapping[str, Drift]
    false_alarm_rate: float
    not_compared: tuple[str, ...]
    """Classes of which the folder keeps no scores."""
    trained: Mapping[str, int]
    """Images of each class that were left out: the network was trained on them."""
    bad_files: tuple[BadFile, ...]

    @property
    def drifted(self) -> bool:
        """Whether any class did."""
        return any(drift.drifted for drift in self.classes.values())

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return {
            "drifted": self.drifted,
            "false_alarm_rate": self.false_alarm_rate,
            "significance": SIGNIFICANCE,
            "classes": {
                name: {
                    **asdict(drift),
                    "interval": list(drift.interval),
                    "drifted": drift.drifted,
                }
                for name, drift in self.classes.items()
            },
            "not_compared": list(self.not_compared),
            "trained": dict(self.trained),
            "bad_files": [{"path": str(b.path), "reason": b.reason} for b in self.bad_files],
        }


def check_drift(
    folder: Path,
    roots: Sequence[Path],
    *,
    class_name: str | None = None,
    device: str = "auto",
    batch_size: int = 8,
    reading: Reading = AS_TRAINED,
    on_progress: Callable[[int, int], None] | None = None,
) -> DriftReport:
    """Compare recent normal images with the calibration's, inspected in the same way.

    Args:
        folder: A model folder or an export folder.
        roots: Data folders of recent normal images; those that the network was trained on, where
            the folder knows them, are left out.
        class_name: The product on all images; None takes the folders' names.
        device: See `Inspector`.
        batch_size: See `Inspector`.
        reading: See `Inspector`.
        on_progress: Told the number of images done and of all.

    Raises:
        UserError: The folder or data is bad, the folder keeps no scores of these classes, or no
            image is left.
    """
    inspector = Inspector(folder, device=device, batch_size=batch_size, reading=reading)
    calibration = inspector.calibration
    found = score_normals(
        *(inspector, roots, read_config(folder).trained_files),
        class_name=class_name,
        on_progress=on_progress,
    )
    recent = {name: scores for name, scores in found.scores.items() if scores}
    compared = {name: scores for name, scores in recent.items() if calibration.scores[name]}
    if not compared:
        raise UserError(
            f"Nothing to compare: {folder} keeps no scores of {', '.join(found.scores)}, or no "
            "recent image could be read. Calibrate with images of these classes first."
        )
    return DriftReport(
        classes={
            name: compare(
                calibration.scores[name],
                scores,
                calibration.threshold_for(name),
                calibration.false_alarm_rate,
                tests=len(compared),
            )
            for name, scores in compared.items()
        },
        false_alarm_rate=calibration.false_alarm_rate,
        not_compared=tuple(sorted(set(found.scores) - set(compared))),
        trained=found.trained,
        bad_files=tuple(found.bad_files),
    )
