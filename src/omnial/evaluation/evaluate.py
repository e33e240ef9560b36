"""Evaluate a model on a data set, one class after the other, in bounded memory.

Images stream through the network in batches; of each image only its score stays, and of each
class only its pixel scores until the class is done. The few images of the gallery go through the
network a second time, once it is known which they are.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

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
from omnial.errors import RunError, UserError
from omnial.evaluation.gather import Measured, counted_pixels, gathered, measure, share
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
from omnial.inference.inspector import Inspector
from omnial.metrics import ranking
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.ranking import Curve, mean_figures
from omnial.models.prediction import Backend, Prediction, over_windows
from omnial.models.thresholds import Calibration
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent

Transform = Callable[[Sample], Sample]
"""Changes a decoded image with its mask before the network sees it; called from several threads.
It must be a function of the sample alone."""


def evaluate_folder(
    model: Path,
    roots: Sequence[Path],
    *,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    skip_bad_files: bool = False,
    device: str = "auto",
    reading: Reading = AS_TRAINED,
    progress: Progress = silent,
) -> EvaluationResult:
    """Evaluate a model folder or an export folder on test images, after checking all files.

    Connected processes share the images; see `evaluate_backend`.

    Args:
        model: A model folder or an export folder; an export that does not reconstruct has
            neither PSNR and SSIM nor a gallery.
        roots: Data folders, see `omnial.data.layouts.discover`.
        batch_size: Images that go through the network at once.
        gallery_per_class: Most gallery images of each class.
        skip_bad_files: Leave unreadable files out, and list them, instead of stopping.
        device: See `Inspector`.
        reading: How pictures are read, where that differs from the training.
        progress: Called after every file that is checked, and after every batch.
    """
    # Next to other processes, an engine keeps to this one's share of the cores.
    threads = torch.get_num_threads() if collectives.together() else None
    inspector = collectives.everyone(
        lambda: Inspector(model, device=device, threads=threads, reading=reading)
    )
    strict = {"on_bad_file": "skip" if skip_bad_files else "fail"}
    settings = inspector.settings.data.model_copy(update=strict)
    catalogue = collectives.first(
        lambda: check_files(
            discover(roots, need="test"), settings, progress=partial(progress, "checking files")
        )
    )
    return evaluate_model(
        *(inspector, catalogue),
        batch_size=batch_size,
        gallery_per_class=gallery_per_class,
        progress=progress,
    )


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
    *,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    progress: Progress = silent,
    transform: Transform | None = None,
) -> EvaluationResult:
    """Evaluate a trained model on the test images of a data set.

    Thresholds come from the model's calibration. A class that the model was not trained on takes
    the largest. Where the model has a region of interest for a class, what lies outside it does
    not count, in addition to the data set's own region. Arguments and errors are those of
    `evaluate_backend`.
    """
    inspector = model if isinstance(model, Inspector) else Inspector.of(model)
    backend, settings, calibration = inspector.backend, inspector.settings, inspector.calibration
    description: dict[str, object] = {
        "system": settings.system,
        "size": settings.size,
        "classes": list(inspector.classes),
        "calibration": calibration.summary(),
        "notes": list(calibration.notes()),
        "training": dict(inspector.training),
    }
    device = None
    if isinstance(backend, TorchBackend):
        device = None if backend.device.type == "cpu" else backend.device
    else:
        description["engine"] = backend.facts()
    return evaluate_backend(
        backend,
        catalogue,
        settings,
        batch_size=batch_size,
        gallery_per_class=gallery_per_class,
        calibration=calibration,
        rois=inspector.rois,
        description=description,
        device=device,
        progress=progress,
        transform=transform,
    )


def evaluate_backend(
    backend: Backend,
    catalogue: Catalogue,
    settings: Settings,
    *,
    batch_size: int = 16,
    gallery_per_class: int = 0,
    calibration: Calibration | None = None,
    rois: Mapping[str, NDArray[np.bool_]] | None = None,
    description: Mapping[str, object] | None = None,
    device: torch.device | None = None,
    progress: Progress = silent,
    transform: Transform | None = None,
) -> EvaluationResult:
    """Evaluate a network on any engine on the test images of a data set.

    Processes that are connected (`omnial.distributed`) share the images. All must call this, and
    all get the figures of a single process; the gallery is the first one's alone.

    Args:
        backend: The engine with the network.
        catalogue: The data set.
        settings: How files become network input, and the rule from score map to score.
        batch_size: Images that go through the network at once.
        gallery_per_class: Most gallery images of each class; a network that does not
            reconstruct has no gallery.
        calibration: The thresholds; None where there are none.
        rois: Regions of interest (height, width) bool of the network input, of some classes,
            in addition to the data set's own.
        description: JSON values about the model, for the result.
        device: A GPU that helps with the figures; None leaves them to the host.
        progress: Called after every batch.
        transform: Changes every image first; None changes nothing. PSNR and SSIM then compare
            with the changed image.

    Returns:
        The figures. PSNR and SSIM are those of the good test images, and None for single kinds
        and for a network that does not reconstruct. Pixel figures leave out defective images
        without a mask, and are None for classes and kinds that have no mask at all.

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
        progress("evaluating", done, total)

    run = _Run(backend, settings, batch_size, calibration, rois or {}, device, advance, transform)
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
            data=_describe(catalogue, settings.data),
            model=dict(description or {}),
            bad_files=catalogue.bad_files,
            pixel_threshold=float("nan") if calibration is None else calibration.pixel,
            seconds=time.perf_counter() - started,
        )

    return replace(collectives.first(result), gallery=tuple(gallery))


@dataclass(frozen=True)
class _Run:
    """One evaluation: the engine and everything that stays the same from class to class."""

    backend: Backend
    settings: Settings
    batch_size: int
    calibration: Calibration | None
    rois: Mapping[str, NDArray[np.bool_]]
    device: torch.device | None
    advance: Callable[[int], None]
    transform: Transform | None

    def evaluate_class(self, product: ProductClass) -> ClassResult | None:
        """The figures of one class; None in a process that only helped."""
        calibration, counted = self.calibration, counted_pixels(product.test, self.settings.data)
        limit = calibration.threshold_for_any(product.name) if calibration else float("nan")
        pixels = PixelFigures(counted, self.device)
        images: list[ImageResult] = []
        good: list[Measured] = []
        batches = partial(self.batches, product, bool(counted))
        for batch in gathered(len(product.test), self.batch_size, batches):
            for one in batch:
                images.append(ImageResult(one.record, one.score, limit))
                if one.score_map is not None:
                    pixels.add(one.record.kind, one.score_map, one.mask, one.valid)
                if one.psnr is not None:
                    good.append(one)
            self.advance(len(batch))
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
        return ClassResult(product.name, figures, kinds, tuple(images), curves | summary.curves)

    def batches(self, product: ProductClass, pixels: bool) -> Iterator[list[Measured]]:
        """This process's batches of a class."""
        for parts in self.predictions(product, share(product.test, self.batch_size)):
            yield [one for part in parts for one in measure(*part, pixels, self.device)]

    def gallery(
        self, product: ProductClass, images: Sequence[ImageResult], most: int
    ) -> Iterator[GalleryItem]:
        """The images of a class that are worth looking at, predicted a second time."""
        chosen = choose(images, most)
        picked = iter(chosen)
        batches = self.predictions(product, [result.record for result, _ in chosen])
        for samples, prediction in chain.from_iterable(batches):
            if prediction.reconstruction is None:
                return
            for index, sample in enumerate(samples):
                result, role = next(picked)
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
                )

    def predictions(
        self, product: ProductClass, records: Sequence[ImageRecord]
    ) -> Iterator[list[tuple[list[Sample], Prediction]]]:
        """Batches of images, parted by size, with their predictions."""
        settings, roi = self.settings.data, self.rois.get(product.name)

        def load(record: ImageRecord) -> Sample:
            sample = load_sample(record, product, settings, roi)
            return sample if self.transform is None else self.transform(sample)

        for samples in sample_batches(records, load, self.batch_size):
            yield [(part, self.predict(part)) for part in same_size(samples)]

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        """The prediction for samples of one size."""
        found = over_windows(self.backend.run, *stack(samples), self.settings)
        finite = np.isfinite(found.score_maps).all(axis=(1, 2)) & np.isfinite(found.scores)
        if not finite.all():
            path = samples[int(np.argmin(finite))].record.path
            raise RunError(f"The scores of {path} are not finite numbers: the model is of no use.")
        return found


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
