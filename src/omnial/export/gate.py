"""The accuracy gate: how far an exported network may be from PyTorch in float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import Settings
from omnial.evaluation.sample import Sample, same_size, stack
from omnial.inference.verify import beyond, differences
from omnial.metrics.ranking import average_precision, count
from omnial.model_folder.export_folder import Differences, Gate, Precision, Tolerance
from omnial.models.prediction import Backend
from omnial.models.thresholds import Calibration, is_anomalous
from omnial.models.windows import over_windows

_EXACT = Tolerance(
    map_largest=1e-3, map_mean=1e-4, score_largest=1e-3, pixel_ap_loss=0.005, verdicts_changed=0.0
)
_REDUCED = Tolerance(
    map_largest=None, map_mean=0.01, score_largest=0.1, pixel_ap_loss=0.005, verdicts_changed=0.02
)
TOLERANCES: Final[dict[Precision, Tolerance]] = {
    "fp32": _EXACT,
    "fp16": _REDUCED,
    "bf16": _REDUCED,
    "int8": _REDUCED,
}
"""What counts as good. [O] Single pixels at the rim of a defect may change in reduced precision;
what must not is the map as a whole, an image's score, pixel AP by half a point, and more than one
verdict in fifty; in float32 none."""

_SLACK = 1.5
"""Of the differences on the stored samples, since another machine rounds in another way."""
_BATCH = 8


@dataclass(frozen=True)
class Reference:
    """Images that an export is compared on, with PyTorch's results."""

    source: Literal["synthetic", "data"]
    samples: tuple[Sample, ...]
    settings: Settings
    maps: tuple[NDArray[np.float32], ...]
    """(H, W) each."""
    scores: NDArray[np.float64]
    """(n,)."""

    @classmethod
    def of(
        cls,
        source: Literal["synthetic", "data"],
        samples: Sequence[Sample],
        pytorch: Backend,
        settings: Settings,
    ) -> "Reference":
        """Let PyTorch inspect the images, with the settings of the network."""
        return cls(source, tuple(samples), settings, *_run(pytorch, samples, settings))


def compare(
    engine: Backend, reference: Reference, precision: Precision, calibration: Calibration
) -> Gate:
    """Compare an exported network with PyTorch.

    Args:
        engine: The exported network.
        reference: Images and PyTorch's results.
        precision: Decides what is tolerated.
        calibration: The thresholds, by which verdicts are compared.
    """
    tolerance, samples = TOLERANCES[precision], reference.samples
    maps, scores = _run(engine, samples, reference.settings)
    found = differences(reference.maps, reference.scores, maps, scores)
    before, after = _pixel_ap(samples, reference.maps), _pixel_ap(samples, maps)
    reasons = list(beyond(found, tolerance))
    if before is not None and after is not None and before - after > tolerance.pixel_ap_loss:
        reasons.append(
            f"pixel AP {100 * after:.1f} instead of {100 * before:.1f}, allowed loss "
            f"{100 * tolerance.pixel_ap_loss:.1f} points"
        )
    limits = [calibration.threshold_for_any(sample.record.class_name) for sample in samples]
    changed = [
        is_anomalous(first, limit) != is_anomalous(second, limit)
        for first, second, limit in zip(
            reference.scores.tolist(), scores.tolist(), limits, strict=True
        )
    ]
    share = float(np.mean(changed))
    if share > tolerance.verdicts_changed:
        reasons.append(
            f"{sum(changed)} of {len(changed)} verdicts changed, allowed "
            f"{100 * tolerance.verdicts_changed:g} %"
        )
    return Gate(
        passed=not reasons,
        images=reference.source,
        differences=found,
        verdicts_changed=share,
        pixel_ap_reference=before,
        pixel_ap=after,
        tolerance=tolerance,
        reasons=tuple(reasons),
    )


def allowed_elsewhere(precision: Precision, measured: Differences) -> Tolerance:
    """What `omnial verify` allows on the stored samples: the gate, or a bit more than measured.

    Made-up pictures can lie further apart than real ones; float32 has no such excuse.
    """
    tolerance = TOLERANCES[precision]
    if precision == "fp32":
        return tolerance
    return tolerance.model_copy(
        update={
            "map_mean": max(tolerance.map_mean, _SLACK * measured.map_mean),
            "score_largest": max(tolerance.score_largest, _SLACK * measured.score_largest),
        }
    )


def _run(
    engine: Backend, samples: Sequence[Sample], settings: Settings
) -> tuple[tuple[NDArray[np.float32], ...], NDArray[np.float64]]:
    maps: list[NDArray[np.float32]] = []
    scores = []
    for start in range(0, len(samples), _BATCH):
        for part in same_size(samples[start : start + _BATCH]):
            prediction = over_windows(engine.run, *stack(part), settings)
            maps += list(prediction.score_maps)
            scores.append(prediction.scores)
    return tuple(maps), np.concatenate(scores)


def _pixel_ap(samples: Sequence[Sample], maps: Sequence[NDArray[np.float32]]) -> float | None:
    """Pixel AP, mean over the classes that have both masks and normal pixels."""
    classes: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        if sample.mask is not None or not sample.record.anomalous:
            classes.setdefault(sample.record.class_name, []).append(index)
    found = []
    for members in classes.values():
        values = np.concatenate([maps[index][samples[index].valid] for index in members])
        masks = [(samples[index].mask, samples[index].valid) for index in members]
        labels = np.concatenate(
            [np.zeros(valid.sum(), bool) if mask is None else mask[valid] for mask, valid in masks]
        )
        counts = count(np.nan_to_num(values), labels)
        if counts is not None:
            found.append(average_precision(counts))
    return float(np.mean(found)) if found else None
