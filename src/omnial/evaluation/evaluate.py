"""Evaluate a model on a data set, one class after the other, in bounded memory.

Of each image only its score stays, and of each class only its pixel scores until it is done. The
few images of the gallery go through the network a second time, once it is known which they are.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.config.settings import AS_TRAINED, DataSettings, Reading, Settings
from omnial.data.checks import check_files
from omnial.data.decode import as_unit
from omnial.data.layouts import discover
from omnial.data.records import GOOD, Catalogue, ImageRecord, ProductClass
from omnial.distributed import collectives
from omnial.distributed.launch import Processes
from omnial.errors import UserError
from omnial.evaluation.gather import Measured, gathered, measure, share
from omnial.evaluation.replicates import replicate
from omnial.evaluation.result import (
    FIGURES,
    ClassResult,
    EvaluationResult,
    GalleryItem,
    ImageResult,
    choose,
    no_figures,
    picture,
)
from omnial.evaluation.sample import Sample, load_sample, same_size, sample_batches, stack
from omnial.evaluation.suspicious_images import suspicious_images
from omnial.inference.inspector import Inspector
from omnial.metrics import ranking
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.ranking import Curve, mean_figures
from omnial.models.each_core import cores_of, on_each_core
from omnial.models.normality import Normality, with_normality, witnesses_of
from omnial.models.prediction import Backend, Prediction, over_windows
from omnial.models.thresholds import Calibration
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent

T = TypeVar("T")
Transform = Callable[[Sample], Sample]
"""Changes a decoded image with its mask before the network sees it; called from several threads.
It must be a function of the sample alone."""


def evaluate_folder(
    model: Path,
    roots: Sequence[Path],
    batch_size: int = 16,
    gallery_per_class: int = 6,
    skip_bad_files: bool = False,
    device: str = "auto",
    reading: Reading = AS_TRAINED,
    progress: Progress = silent,
) -> EvaluationResult:
    """Check all files, then evaluate a model or export folder; arguments as `omnial.evaluate`.

    Connected processes share the images, see `Evaluation`.
    """
    # Next to other processes, an engine keeps to this one's share of the cores.
    threads = torch.get_num_threads() if collectives.together() else None
    inspector = collectives.everyone(
        lambda: Inspector(model, device=device, threads=threads, reading=reading)
    )
    strict = {"on_bad_file": "skip" if skip_bad_files else "fail"}
    settings = inspector.settings.data.model_copy(update=strict)
    catalogue = collectives.first(
        lambda: check_files(discover(roots, need="test"), settings, progress=progress)
    )
    return evaluate_model(inspector, catalogue, batch_size, gallery_per_class, progress)


def device_of_process(name: str, processes: Processes) -> str:
    """The device of this process: each has its own GPU, where there are any."""
    if processes.size == 1 or name == "cpu":
        return name
    if name != "auto":
        raise UserError(
            f"--device {name}: {processes.size} processes cannot share it; give auto or cpu"
        )
    if not torch.cuda.is_available():
        return "cpu"
    if torch.cuda.device_count() < processes.local_size:
        raise UserError(
            f"this machine has {torch.cuda.device_count()} GPUs for {processes.local_size} "
            "processes: start one for each GPU, or give --device cpu"
        )
    return f"cuda:{processes.local_rank}"


def evaluate_model(
    model: TrainedModel | Inspector,
    catalogue: Catalogue,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    progress: Progress = silent,
    transform: Transform | None = None,
    resamples: int = 0,
) -> EvaluationResult:
    """Evaluate a trained model on the test images of a data set; see `Evaluation`.

    Thresholds come from the model's calibration; one in tiles gives none, since images are seen
    whole here. A class that the model was not trained on takes the largest. Where the model has a
    region of interest for a class, what lies outside it does not count, in addition to the data
    set's own region.
    """
    inspector = model if isinstance(model, Inspector) else Inspector.of(model)
    backend, settings, calibration = inspector.backend, inspector.settings, inspector.calibration
    notes = list(calibration.notes())
    thresholds = calibration if calibration.tile is None else None
    if thresholds is None:
        notes.append("The thresholds are of tiles, and images are seen whole here: no verdicts.")
    description: dict[str, object] = {
        "system": settings.system,
        "size": settings.size,
        "classes": list(inspector.classes),
        "calibration": calibration.summary(),
        "weights": {name: one.weight_of for name, one in inspector.normality.items()},
        "notes": notes,
        "training": dict(inspector.training),
    }
    device = None
    if not isinstance(backend, TorchBackend):
        description["engine"] = backend.facts()
    elif backend.device.type != "cpu":
        device = backend.device
    evaluation = Evaluation(
        *(backend, settings, batch_size, gallery_per_class, thresholds, inspector.rois),
        *(inspector.normality, description, device, progress, transform, resamples),
    )
    return evaluation.run(catalogue)


@dataclass(frozen=True)
class Evaluation:
    """How a network on any engine is evaluated."""

    backend: Backend
    settings: Settings
    """How files become network input, and the rule from score map to score."""
    batch_size: int = 16
    gallery_per_class: int = 0
    """Most gallery images; a network that does not reconstruct has no gallery."""
    calibration: Calibration | None = None
    rois: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Regions of interest (height, width) of the network input, of some classes, in addition to
    the data set's own."""
    normality: Mapping[str, Normality] = field(default_factory=dict)
    description: Mapping[str, object] = field(default_factory=dict)
    """JSON values about the model, for the result."""
    device: torch.device | None = None
    """A GPU that helps with the figures; None leaves them to the host."""
    progress: Progress = silent
    """Called after every batch."""
    transform: Transform | None = None
    """Changes every image first; PSNR and SSIM then compare with the changed image."""
    resamples: int = 0
    """Bootstrap resamples of each class's images, for `ClassResult.replicates`; a class then needs
    some 12 bytes more a pixel."""

    def run(self, catalogue: Catalogue) -> EvaluationResult:
        """Evaluate on the test images of a data set.

        Processes that are connected (`omnial.distributed`) share the images. All must call this,
        and all get the figures of a single process; the gallery is the first one's alone.

        PSNR and SSIM are those of the good test images, and None for single kinds and for a
        network that does not reconstruct. Pixel figures leave out defective images without a
        mask, and are None for classes and kinds that have no mask at all.

        Raises:
            UserError: There is no test image, or a file cannot be used.
            RunError: The scores are not finite.
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
            self.progress("evaluating", done, total)

        classes: list[ClassResult] = []
        gallery: list[GalleryItem] = []
        for product in catalogue.classes:
            found = self._class_result(product, advance)
            if found is not None:
                classes.append(found)
                gallery.extend(self._gallery(product, found.images))

        def result() -> EvaluationResult:
            mean, mean_over = mean_figures([found.figures for found in classes], FIGURES)
            return EvaluationResult(
                classes=tuple(classes),
                mean=mean,
                mean_over=mean_over,
                data=_describe(catalogue, self.settings.data),
                model=dict(self.description),
                bad_files=catalogue.bad_files,
                pixel_threshold=self.calibration.pixel if self.calibration else float("nan"),
                suspicious=suspicious_images(self.description, catalogue, self.settings.data),
                seconds=time.perf_counter() - started,
            )

        return replace(collectives.first(result), gallery=tuple(gallery))

    def _class_result(
        self, product: ProductClass, advance: Callable[[int], None]
    ) -> ClassResult | None:
        """The figures of one class; None in a process that only helped."""
        threshold, pixels = float("nan"), PixelFigures()
        if self.calibration is not None:
            threshold = self.calibration.threshold_for_any(product.name)
        images: list[ImageResult] = []
        good: list[Measured] = []
        kept: list[Measured] = []
        batches = partial(self._batches, product)
        for batch in gathered(len(product.test), self.batch_size, batches):
            for one in batch:
                images.append(ImageResult(one.record, one.score, threshold))
                if one.score_map is not None:
                    pixels.add(one.record.kind, one.score_map, one.mask, one.valid)
                if one.psnr is not None:
                    good.append(one)
            if self.resamples:
                kept.extend(batch)
            advance(len(batch))
        if collectives.rank():
            return None
        summary = pixels.finish()
        image_figures, curves = _image_figures(images)
        figures = no_figures() | image_figures | summary.figures
        if good:
            figures["psnr"] = float(np.mean([one.psnr for one in good]))
            figures["ssim"] = float(np.mean([one.ssim for one in good]))
        kinds = {}
        for kind in dict.fromkeys(i.record.kind for i in images if i.record.anomalous):
            part = [i for i in images if i.record.kind in (GOOD, kind)]
            kinds[kind] = no_figures() | _image_figures(part)[0] | summary.kinds.get(kind, {})
        replicates = replicate(product.name, kept, self.resamples) if kept else {}
        curves |= summary.curves
        return ClassResult(product.name, figures, kinds, tuple(images), curves, replicates)

    def _batches(self, product: ProductClass) -> Iterator[list[Measured]]:
        pixels = any(record.mask is not None for record in product.test)

        def figures(samples: Sequence[Sample], output: Prediction) -> list[Measured]:
            judged = self._judge(product.name, samples, output)
            return measure(samples, judged, pixels, self.device)

        measured = self._each(product, share(product.test, self.batch_size), figures)
        while batch := list(islice(measured, self.batch_size)):
            yield batch

    def _gallery(
        self, product: ProductClass, images: Sequence[ImageResult]
    ) -> Iterator[GalleryItem]:
        """The images of a class that are worth looking at, predicted a second time."""
        chosen = choose(images, self.gallery_per_class)
        picked = {result.record.path: (result, role) for result, role in chosen}

        def items(samples: Sequence[Sample], output: Prediction) -> Iterator[GalleryItem]:
            prediction = self._judge(product.name, samples, output)
            if prediction.reconstruction is None:
                return
            names = [product.name] * len(samples) if self.normality else []
            witnesses = list(witnesses_of(output, self.normality, names))
            for index, sample in enumerate(samples):
                result, role = picked[sample.record.path]
                # Copies, so that no batch is kept alive.
                yield GalleryItem(
                    record=result.record,
                    role=role,
                    score=result.score,
                    threshold=result.threshold,
                    image=picture(as_unit(sample.image)),
                    reconstruction=picture(prediction.reconstruction[index]),
                    jnd=None if prediction.jnd is None else prediction.jnd[index].copy(),
                    score_map=prediction.score_maps[index].copy(),
                    mask=sample.mask,
                    witnesses=witnesses[index].within(sample.valid) if witnesses else None,
                )

        return self._each(product, [result.record for result, _ in chosen], items)

    def _each(
        self,
        product: ProductClass,
        records: Sequence[ImageRecord],
        work: Callable[[Sequence[Sample], Prediction], Iterable[T]],
    ) -> Iterator[T]:
        """What `work` makes of each image, from a few of one size and the network's output.

        No more than a batch is in the network at a time; on a processor, a part on each core.
        """
        settings, roi = self.settings.data, self.rois.get(product.name)

        def load(record: ImageRecord) -> Sample:
            sample = load_sample(record, product, settings, roi)
            return sample if self.transform is None else self.transform(sample)

        def look(samples: Sequence[Sample]) -> list[T]:
            found: list[T] = []
            for part in same_size(samples):
                output = over_windows(self.backend.run, *stack(part), self.settings)
                found.extend(work(part, output))
            return found

        network = self.backend.network if isinstance(self.backend, TorchBackend) else None
        cores = cores_of(network) if network else 1
        batches = sample_batches(records, load, -(-self.batch_size // cores))
        parts = on_each_core(look, batches, network) if network else map(look, batches)
        return chain.from_iterable(parts)

    def _judge(self, name: str, samples: Sequence[Sample], output: Prediction) -> Prediction:
        """Network and normality together."""
        valid, names = np.stack([sample.valid for sample in samples]), [name] * len(samples)
        rule = self.settings.model.image_score
        found = with_normality(output, self.normality, names, valid, rule)
        return found.checked([sample.record.path for sample in samples])


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
    curves = {"image_roc": ranking.roc_curve(counts), "image_pr": ranking.pr_curve(counts)}
    return figures, curves


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
        "bad_files": [bad.to_dict() for bad in catalogue.bad_files],
    }
