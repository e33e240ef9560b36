"""The accuracy gate: how far an exported network may be from PyTorch, and on which images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import AS_TRAINED, DataSettings, Reading, Settings
from omnial.data.decode import as_unit
from omnial.data.layouts import discover
from omnial.data.records import GOOD, ImageRecord, ProductClass, split_validation
from omnial.evaluation.sample import Sample, in_windows, load_sample, same_size, stack
from omnial.inference.verify import beyond, differences, make_inputs
from omnial.metrics.ranking import average_precision, count
from omnial.model_folder.export_folder import Differences, Gate, Precision, Tolerance
from omnial.models.normality import Normality, with_normality
from omnial.models.prediction import Backend, over_windows
from omnial.models.thresholds import Calibration, is_anomalous
from omnial.models.trained_model import TrainedModel

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

CALIBRATION_IMAGES = 128
"""Normal images that INT8's ranges are taken from, over all classes. [O]"""
_SLACK = 1.5
"""Of the differences on the stored samples, since another machine rounds in another way."""
_BATCH = 8
_T = TypeVar("_T")
Source: TypeAlias = Literal["synthetic", "data"]


class ExportImages(NamedTuple):
    """Images of a data set for an export."""

    calibration: tuple[NDArray[np.float32], ...]
    """(3, height, width) float32 network inputs of normal images: of one that is seen in windows,
    one of them, in turn."""
    compared: tuple[Sample, ...]
    """Images to compare on, test images where there are some."""


def from_data(
    roots: Sequence[Path], model: TrainedModel, most: int, reading: Reading = AS_TRAINED
) -> ExportImages:
    """Images of a data set, chosen evenly over its classes, the same in every run.

    At most `most` are compared on, over all classes; each class has at least two.
    """
    settings, data = model.settings, reading.of(model.settings.data)
    products = discover(roots, need="any").classes
    calibration: list[NDArray[np.float32]] = []
    compared: list[Sample] = []
    for product in products:
        roi = model.rois.get(product.name)
        learnt, held_out = split_validation(product.train, settings.data, settings.training.seed)
        share = max(1, CALIBRATION_IMAGES // len(products))
        for number, record in enumerate(spread(learnt or held_out, share)):
            sample = load_sample(record, product, data, roi)
            windows = in_windows(sample, data)
            calibration.append(as_unit(windows[number % len(windows)].image))
        for record in _to_compare(product, held_out or learnt, max(2, most // len(products))):
            compared.append(load_sample(record, product, data, roi))
    return ExportImages(tuple(calibration), tuple(compared))


def made_up(settings: DataSettings) -> tuple[Sample, ...]:
    """The made-up pictures that every export folder holds."""
    images, valid = make_inputs(settings)
    record = ImageRecord(Path("sample"), "", "test", GOOD)
    return tuple(
        Sample(record, image, region, None) for image, region in zip(images, valid, strict=True)
    )


def spread(items: Sequence[_T], most: int) -> list[_T]:
    """At most so many of the items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def _to_compare(
    product: ProductClass, others: Sequence[ImageRecord], most: int
) -> list[ImageRecord]:
    """Half good, half defective test images; without test images, normal ones."""
    if not product.test:
        return spread(others, most)
    bad = [record for record in product.test if record.anomalous]
    good = [record for record in product.test if not record.anomalous]
    chosen = spread(good, max(most // 2, most - len(bad)))
    return chosen + spread(bad, max(most // 2, most - len(good)))


@dataclass(frozen=True)
class Reference:
    """Images that an export is compared on, with PyTorch's results."""

    source: Source
    samples: tuple[Sample, ...]
    settings: Settings
    maps: tuple[NDArray[np.float32], ...]
    """(H, W) each."""
    scores: NDArray[np.float64]
    """(n,)."""
    normality: Mapping[str, Normality] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: Source,
        samples: Sequence[Sample],
        pytorch: Backend,
        settings: Settings,
        normality: Mapping[str, Normality] | None = None,
    ) -> "Reference":
        """Let PyTorch inspect the images, with the settings and normality of the model."""
        found = _run(pytorch, samples, settings, normality or {})
        return cls(source, tuple(samples), settings, *found, normality or {})


def compare(
    engine: Backend, reference: Reference, precision: Precision, calibration: Calibration
) -> Gate:
    """Compare an exported network with PyTorch: the precision decides what is tolerated."""
    tolerance, samples = TOLERANCES[precision], reference.samples
    maps, scores = _run(engine, samples, reference.settings, reference.normality)
    found = differences(reference.maps, reference.scores, maps, scores)
    before, after = _pixel_ap(samples, reference.maps), _pixel_ap(samples, maps)
    reasons = list(beyond(found, tolerance))
    if before is not None and after is not None and before - after > tolerance.pixel_ap_loss:
        reasons.append(
            f"pixel AP {100 * after:.1f} instead of {100 * before:.1f}, allowed loss "
            f"{100 * tolerance.pixel_ap_loss:.1f} points"
        )
    changed = []
    for sample, first, second in zip(samples, reference.scores, scores, strict=True):
        threshold = calibration.threshold_for_any(sample.record.class_name)
        changed.append(is_anomalous(first, threshold) != is_anomalous(second, threshold))
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
    allowed = TOLERANCES[precision]
    if precision == "fp32":
        return allowed
    mean = max(allowed.map_mean, _SLACK * measured.map_mean)
    largest = max(allowed.score_largest, _SLACK * measured.score_largest)
    return allowed.model_copy(update={"map_mean": mean, "score_largest": largest})


def _run(
    engine: Backend,
    samples: Sequence[Sample],
    settings: Settings,
    normality: Mapping[str, Normality],
) -> tuple[tuple[NDArray[np.float32], ...], NDArray[np.float64]]:
    """Score maps and scores of samples."""
    maps: list[NDArray[np.float32]] = []
    scores = []
    for start in range(0, len(samples), _BATCH):
        for part in same_size(samples[start : start + _BATCH]):
            images, valid = stack(part)
            prediction = over_windows(engine.run, images, valid, settings)
            names, rule = [one.record.class_name for one in part], settings.model.image_score
            prediction = with_normality(prediction, normality, names, valid, rule)
            maps += list(prediction.score_maps)
            scores.append(prediction.scores)
    return tuple(maps), np.concatenate(scores)


def _pixel_ap(samples: Sequence[Sample], maps: Sequence[NDArray[np.float32]]) -> float | None:
    """Pixel AP, mean over the classes that have both masks and normal pixels."""
    classes = defaultdict[str, list[tuple[NDArray[Any], NDArray[Any]]]](list)
    for sample, score_map in zip(samples, maps, strict=True):
        if sample.mask is not None or not sample.record.anomalous:
            mask = np.zeros_like(sample.valid) if sample.mask is None else sample.mask
            pixels = score_map[sample.valid], mask[sample.valid]
            classes[sample.record.class_name].append(pixels)
    found = []
    for pairs in classes.values():
        scores, labels = map(np.concatenate, zip(*pairs, strict=True))
        if (counts := count(np.nan_to_num(scores), labels)) is not None:
            found.append(average_precision(counts))
    return float(np.mean(found)) if found else None
