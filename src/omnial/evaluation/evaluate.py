"""Evaluate a detector on a data set, one class after the other, in bounded memory.

Images stream through the detector in batches; of each image only its score stays, and of each
class only its pixel scores until the class is done. The few images of the gallery go through the
detector a second time, once it is known which they are.
"""

import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.calibration.thresholds import Calibration
from omnial.config.settings import DataSettings, Settings
from omnial.data.records import GOOD, Catalogue, ImageRecord, ProductClass
from omnial.distributed import collectives
from omnial.errors import RunError, UserError
from omnial.evaluation.detector import Detection, Detector, ModelDetector
from omnial.evaluation.gallery import choose, gallery_item
from omnial.evaluation.measured import (
    Measured,
    counted_pixels,
    in_order,
    joined,
    measure,
    share,
)
from omnial.evaluation.result import (
    FIGURES,
    ClassResult,
    EvaluationResult,
    GalleryItem,
    ImageResult,
    no_figures,
)
from omnial.evaluation.stream import Sample, load_sample, same_size, stack, stream
from omnial.files import replacing, writing
from omnial.metrics import ranking
from omnial.metrics.means import mean_figures
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.ranking import Curve
from omnial.models.trained_model import TrainedModel
from omnial.untrusted import JSON

METRICS_FILE: Final = "metrics.json"
TABLE_FILE: Final = "metrics.csv"

Progress = Callable[[int, int], None]
"""Told after every batch: images done, images in all."""

Transform = Callable[[Sample], Sample]
"""Changes a decoded image with its mask before the detector sees it; called from several threads.
It must be a function of the sample alone."""


def evaluate_model(
    model: TrainedModel,
    catalogue: Catalogue,
    *,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    on_progress: Progress | None = None,
    transform: Transform | None = None,
) -> EvaluationResult:
    """Evaluate a trained model on the test images of a data set.

    Thresholds come from the model's calibration. A class that the model was not trained on takes
    the largest. Where the model has a region of interest for a class, what lies outside it does
    not count, in addition to the data set's own region.

    Args:
        model: The model; it also says how files become network input.
        catalogue: The data set.
        batch_size: Images that go through the network at once.
        gallery_per_class: Most gallery images of each class.
        on_progress: Told after every batch.
        transform: Changes every image first, such as a corruption; None changes nothing.

    Returns:
        The figures of design section 6, every image's score, and the gallery.

    Raises:
        UserError: There is no test image, or a file cannot be used.
        RunError: The model's scores are not finite.
    """
    device = next(model.network.parameters()).device
    return evaluate_detector(
        ModelDetector(model),
        catalogue,
        model.settings.data,
        batch_size=batch_size,
        gallery_per_class=gallery_per_class,
        calibration=model.calibration,
        rois=model.rois,
        description=describe_model(
            model.settings, model.classes, model.calibration, model.training
        ),
        device=None if device.type == "cpu" else device,
        on_progress=on_progress,
        transform=transform,
    )


def describe_model(
    settings: Settings,
    classes: Sequence[str],
    calibration: Calibration,
    training: Mapping[str, JSON],
) -> dict[str, object]:
    """What `metrics.json` says about a trained model, whatever engine runs it."""
    return {
        "system": settings.system,
        "size": settings.size,
        "classes": list(classes),
        "calibration": calibration.summary(),
        "notes": list(calibration.notes()),
        "training": dict(training),
    }


def evaluate_detector(
    detector: Detector,
    catalogue: Catalogue,
    settings: DataSettings,
    *,
    batch_size: int = 16,
    gallery_per_class: int = 0,
    calibration: Calibration | None = None,
    rois: Mapping[str, NDArray[np.bool_]] | None = None,
    description: Mapping[str, object] | None = None,
    device: torch.device | None = None,
    on_progress: Progress | None = None,
    transform: Transform | None = None,
) -> EvaluationResult:
    """Evaluate any detector on the test images of a data set.

    Processes that are connected (`omnial.distributed`) share the images. All must call this, and
    all get the figures of a single process; the gallery is the first one's alone.

    Args:
        detector: What is evaluated.
        catalogue: The data set.
        settings: How files become network input.
        batch_size: Images that the detector gets at once.
        gallery_per_class: Most gallery images of each class; a detector that does not
            reconstruct has no gallery.
        calibration: The thresholds; None where the detector has none.
        rois: Regions of interest (height, width) bool of the network input, of some classes,
            beside the data set's own.
        description: JSON values about the detector, kept in the result.
        device: A GPU that helps with the figures; None leaves them to the host.
        on_progress: Told after every batch.
        transform: Changes every image first; None changes nothing. PSNR and SSIM then compare
            with the changed image.

    Returns:
        The figures. PSNR and SSIM are those of the good test images, and None for single kinds
        and for a detector that does not reconstruct. Pixel figures leave out defective images
        without a mask, and are None for classes and kinds that have no mask at all.

    Raises:
        UserError: There is no test image, or a file cannot be used.
        RunError: The detector's scores are not finite.
    """
    started = time.perf_counter()
    total = sum(len(product.test) for product in catalogue.classes)
    if total == 0:
        roots = ", ".join(str(product.root) for product in catalogue.classes) or "no class"
        raise UserError(
            f"There is no test image to evaluate on in {roots}. Put defect-free ones into "
            "<class>/test/good and defective ones into <class>/test/<kind>."
        )
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if on_progress is not None:
            on_progress(done, total)

    run = _Run(detector, settings, batch_size, calibration, rois or {}, device, advance, transform)
    classes: list[ClassResult] = []
    gallery: list[GalleryItem] = []
    for product in catalogue.classes:
        found = run.evaluate_class(product)
        if found is not None:
            classes.append(found)
            gallery.extend(run.gallery(product, found.images, gallery_per_class))

    def result() -> EvaluationResult:
        mean, mean_over = mean_figures([found.figures for found in classes], FIGURES)
        return EvaluationResult(
            classes=tuple(classes),
            mean=mean,
            mean_over=mean_over,
            data=_describe(catalogue, settings),
            model=dict(description or {}),
            bad_files=catalogue.bad_files,
            pixel_threshold=float("nan") if calibration is None else calibration.pixel,
            seconds=time.perf_counter() - started,
        )

    return replace(collectives.first(result), gallery=tuple(gallery))


def write_metrics(result: EvaluationResult, out: Path) -> None:
    """Write `metrics.json` and `metrics.csv` into a folder, each whole or not at all.

    The table has a row for each class (kind `all`), one for each of its kinds, and a last one
    for the mean over classes. A figure that does not exist is an empty cell.

    Raises:
        RunError: The folder cannot be written.
    """
    with writing("The figures", out):
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / METRICS_FILE) as part:
            text = json.dumps(result.to_metrics(), indent=2, allow_nan=False, ensure_ascii=False)
            # A file's name may hold bytes that are no text: a backslash escape is JSON for them.
            part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        with (
            replacing(out / TABLE_FILE) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("class", "kind", *FIGURES))
            for row in result.classes:
                table.writerow((row.name, "all", *(row.figures[name] for name in FIGURES)))
                for kind, figures in row.kinds.items():
                    table.writerow((row.name, kind, *(figures[name] for name in FIGURES)))
            table.writerow(("mean", "all", *(result.mean[name] for name in FIGURES)))


@dataclass(frozen=True)
class _Run:
    """One evaluation: the detector and everything that stays the same from class to class."""

    detector: Detector
    settings: DataSettings
    batch_size: int
    calibration: Calibration | None
    rois: Mapping[str, NDArray[np.bool_]]
    device: torch.device | None
    advance: Callable[[int], None]
    transform: Transform | None

    def evaluate_class(self, product: ProductClass) -> ClassResult | None:
        """The figures of one class; None in a process that only helped."""
        limit = self.threshold(product.name)
        counted = counted_pixels(product.test, self.settings)
        pixels = PixelFigures(counted, self.device)
        images: list[ImageResult] = []
        ratios: list[float] = []
        similarities: list[float] = []
        for batch in self.batches(product, bool(counted)):
            for record, score in zip(batch.records, batch.scores, strict=True):
                images.append(ImageResult(record, score, limit))
            ratios.extend(batch.psnr)
            similarities.extend(batch.ssim)
            for truth in batch.pixels:
                pixels.add(truth.kind, truth.score_map, truth.mask, truth.valid)
            self.advance(len(batch.records))
        if collectives.rank():
            return None
        summary = pixels.finish()
        image_figures, curves = _image_figures(images)
        figures = no_figures() | image_figures | summary.figures
        figures["psnr"] = float(np.mean(ratios)) if ratios else None
        figures["ssim"] = float(np.mean(similarities)) if similarities else None
        kinds = {}
        for kind in dict.fromkeys(i.record.kind for i in images if i.record.anomalous):
            part = [i for i in images if i.record.kind in (GOOD, kind)]
            kinds[kind] = no_figures() | _image_figures(part)[0] | summary.kinds.get(kind, {})
        return ClassResult(product.name, figures, kinds, tuple(images), curves | summary.curves)

    def batches(self, product: ProductClass, pixels: bool) -> Iterator[Measured]:
        """All batches of a class, measured by all processes in turns."""

        def own() -> Iterator[Measured]:
            records = share(product.test, self.batch_size)
            for parts in self.detections(product, records):
                yield joined([measure(*part, pixels, self.device) for part in parts])

        return in_order(len(product.test), self.batch_size, own)

    def gallery(
        self, product: ProductClass, images: Sequence[ImageResult], most: int
    ) -> Iterator[GalleryItem]:
        """The most telling images of a class, seen by the detector once more."""
        chosen = choose(images, most)
        records = [result.record for result, _ in chosen]
        picked = iter(chosen)
        for samples, detection in chain.from_iterable(self.detections(product, records)):
            if detection.reconstruction is None:
                return
            for index, sample in enumerate(samples):
                result, role = next(picked)
                yield gallery_item(
                    result,
                    role,
                    sample,
                    reconstruction=detection.reconstruction[index],
                    jnd=None if detection.jnd is None else detection.jnd[index],
                    score_map=detection.score_maps[index],
                )

    def detections(
        self, product: ProductClass, records: Sequence[ImageRecord]
    ) -> Iterator[list[tuple[list[Sample], Detection]]]:
        """Batches of images, parted by size, with what the detector makes of them."""
        load = partial(
            load_sample,
            product=product,
            settings=self.settings,
            roi=self.rois.get(product.name),
        )
        change = self.transform

        def changed(record: ImageRecord) -> Sample:
            sample = load(record)
            return sample if change is None else change(sample)

        for samples in stream(records, changed, self.batch_size):
            yield [(part, self.detect(part, product.name)) for part in same_size(samples)]

    def detect(self, samples: Sequence[Sample], class_name: str) -> Detection:
        """What the detector makes of samples of one size."""
        detection = self.detector.detect(*stack(samples), class_name)
        _check_finite(samples, detection)
        return detection

    def threshold(self, class_name: str) -> float:
        """The calibrated threshold of a class; NaN where the detector has none."""
        if self.calibration is None:
            return float("nan")
        return self.calibration.threshold_for_any(class_name)


def _image_figures(
    images: Sequence[ImageResult],
) -> tuple[dict[str, float | None], dict[str, Curve]]:
    counts = ranking.count([i.score for i in images], [i.record.anomalous for i in images])
    if counts is None:
        return {}, {}
    figures: dict[str, float | None] = {
        "image_auroc": ranking.auroc(counts),
        "image_ap": ranking.average_precision(counts),
        "image_f1_max": ranking.f1_max(counts),
    }
    return figures, {
        "image_roc": ranking.roc_curve(counts),
        "image_pr": ranking.pr_curve(counts),
    }


def _check_finite(samples: Sequence[Sample], detection: Detection) -> None:
    finite = np.isfinite(detection.score_maps).all(axis=(1, 2)) & np.isfinite(detection.scores)
    if not finite.all():
        path = samples[int(np.argmin(finite))].record.path
        raise RunError(f"The scores of {path} are not finite numbers: the model is of no use.")


def _describe(catalogue: Catalogue, settings: DataSettings) -> dict[str, object]:
    return {
        "height": settings.height,
        "width": settings.width,
        "geometry": settings.geometry,
        "classes": {
            product.name: {
                "root": str(product.root),
                "images": dict(Counter(record.kind for record in product.test)),
                "masks": sum(record.mask is not None for record in product.test),
            }
            for product in catalogue.classes
        },
        "bad_files": [{"path": str(bad.path), "reason": bad.reason} for bad in catalogue.bad_files],
    }
