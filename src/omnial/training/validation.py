"""After training: thresholds, product recognition and figures, from validation images alone."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from omnial.config.settings import Settings
from omnial.data.cover import Cover, size_of
from omnial.data.dataset import ImageDataset, to_unit
from omnial.metrics.means import Figures
from omnial.metrics.psnr_ssim import defect_distances, erased, psnr
from omnial.metrics.ranking import Counts, auroc, average_precision, count, f1
from omnial.model_folder.validation_figures import ValidationFigures
from omnial.models.appearance import appearance
from omnial.models.noise import noise
from omnial.models.prediction import Prediction
from omnial.models.recogniser import MOST_EXAMPLES, Recogniser
from omnial.models.thresholds import Calibration, calibrate
from omnial.models.torch_backend import predict_batch
from omnial.models.windows import over_windows
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize

_BATCH = 16  # windows at once
_VALIDATION_STEP = 2**40  # no training step has this number
_DEFECT_IMAGES = 200  # validation images, over all classes, that are drawn on


class Validated(NamedTuple):
    """Thresholds, recogniser and figures of a trained network."""

    calibration: Calibration
    recogniser: Recogniser
    figures: ValidationFigures


class _Normal(NamedTuple):
    """Results on n normal images: scores (n,), features (n, F) and PSNR (n,) in dB."""

    scores: NDArray[np.float64]
    features: NDArray[np.float32]
    psnr: NDArray[np.float64]


class _Drawn(NamedTuple):
    """Results on n images with a synthesized defect each."""

    labels: NDArray[np.int64]
    """(n,) class numbers."""
    scores: NDArray[np.float64]
    maps: list[NDArray[np.float32]]
    """The scores of each image's pixels in the region of interest."""
    masks: list[NDArray[np.bool_]]
    """The labels of the same pixels; a few images show no defect."""
    left: NDArray[np.float64]
    """(n,) squared distance of the reconstruction to the image without the defect."""
    drawn: NDArray[np.float64]
    """(n,) squared distance of the image with the defect."""


def validate(
    network: nn.Module,
    settings: Settings,
    names: Sequence[str],
    train: ImageDataset,
    train_labels: Sequence[int],
    validation: ImageDataset,
    labels: Sequence[int],
) -> Validated:
    """Set thresholds and learn to recognise products.

    Args:
        network: The trained network.
        settings: The run.
        names: The classes.
        train: Images the network was trained on; the recogniser is fitted on them.
        train_labels: Class number of each.
        validation: Normal images that it has not seen: they set the thresholds, and with
            synthesized defects the outline level, that of the best pixel F1.
        labels: Class number of each.
    """
    normal, own = _inspect_normal(network, settings, validation), np.asarray(labels)
    drawn = _inspect_defects(network, settings, validation, own)
    recogniser = _learn_products(settings, names, train, train_labels)
    recognised = recogniser.recognise(normal.features)
    right = np.array([name == names[label] for name, label in zip(recognised, labels, strict=True)])
    maps, masks = np.concatenate(drawn.maps), np.concatenate(drawn.masks)
    scores = {name: normal.scores[own == index] for index, name in enumerate(names)}
    level, rate = _outline_level(count(maps, masks), maps), settings.calibration.false_alarm_rate
    figures = {
        name: _figures(normal, own == index, right, drawn, drawn.labels == index)
        for index, name in enumerate(names)
    }
    return Validated(calibrate(scores, level, rate), recogniser, ValidationFigures.over(figures))


def _figures(
    normal: _Normal,
    own: NDArray[np.bool_],
    right: NDArray[np.bool_],
    drawn: _Drawn,
    of_class: NDArray[np.bool_],
) -> Figures:
    """Figures of one class, whose images are `own` of the normal and `of_class` of the drawn."""
    # What is defective is what the mask says: the synthesis may draw what nobody sees.
    members = np.flatnonzero(of_class)
    masks = [drawn.masks[index] for index in members]
    labels = np.array([False] * int(own.sum()) + [bool(mask.any()) for mask in masks], bool)
    images = count(np.concatenate([normal.scores[own], drawn.scores[of_class]]), labels)
    pixels = None
    if masks:
        pixels = count(np.concatenate([drawn.maps[i] for i in members]), np.concatenate(masks))
    left, distance = float(drawn.left[of_class].sum()), float(drawn.drawn[of_class].sum())
    return {
        "image_auroc": None if images is None else auroc(images),
        "pixel_ap": None if pixels is None else average_precision(pixels),
        "psnr": float(normal.psnr[own].mean()) if own.any() else None,
        "erased": erased(left, distance) if distance else None,
        "recognised": float(right[own].mean()) if own.any() else None,
    }


def _inspect_normal(network: nn.Module, settings: Settings, dataset: ImageDataset) -> _Normal:
    """Inspect all images of a dataset as they are."""
    parts = []
    for part in dataset.batches(range(len(dataset)), _BATCH):
        images, region = to_unit(dataset.images(part)), dataset.regions(part)[:, 0]
        found = _predict(network, settings, images, region)
        assert found.reconstruction is not None
        ratios = psnr(found.reconstruction, images, region)
        parts.append((found.scores, found.features, ratios))
    scores, features, ratios = map(np.concatenate, zip(*parts, strict=True))
    return _Normal(scores, features, ratios)


def _inspect_defects(
    network: nn.Module, settings: Settings, dataset: ImageDataset, labels: NDArray[np.int64]
) -> _Drawn:
    """Inspect images of every class with a synthesized defect."""
    recipe = settings.synthesis.model_copy(update={"anomalous_share": 1.0})
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = -(-_DEFECT_IMAGES // len(classes))
    chosen = [int(index) for own in classes for index in own[:: -(-len(own) // most)]]
    scores, maps, masks, distances = [], [], [], []
    for part in dataset.batches(chosen, _BATCH):
        images = to_unit(dataset.images(part))
        region = dataset.regions(part)
        # The texture of each image is its neighbour in the batch, or the one before.
        textures = images.roll(1, 0)
        if len(part) == 1:
            before = to_unit(dataset.images([chosen[chosen.index(part[0]) - 1]]))
            textures = F.interpolate(before, images.shape[-2:], mode="bilinear")
        random = SampleRandom(settings.training.seed, _VALIDATION_STEP, torch.tensor(part))
        sample = synthesize(images, textures, recipe, random, region)
        prediction = _predict(network, settings, sample.anomalous, region[:, 0])
        scores.append(prediction.scores)
        for row, inside in enumerate(region[:, 0].numpy()):
            maps.append(prediction.score_maps[row][inside])
            masks.append(sample.mask[row, 0].numpy()[inside] > 0)
        assert prediction.reconstruction is not None
        restored = torch.from_numpy(prediction.reconstruction)
        distances.append(defect_distances(restored, sample.anomalous, sample.normal, sample.mask))
    left, drawn = (torch.cat(sums).double().numpy() for sums in zip(*distances, strict=True))
    return _Drawn(labels[chosen], np.concatenate(scores), maps, masks, left, drawn)


def _predict(network: nn.Module, settings: Settings, images: Tensor, region: Tensor) -> Prediction:
    """The prediction for a batch of frames of one size, larger ones in windows."""
    run = partial(predict_batch, network, rule=settings.model.image_score)
    return over_windows(run, images.numpy(), region.numpy(), settings)


def _outline_level(counts: Counts | None, scores: NDArray[np.float32]) -> float:
    """The pixel score with the best F1, or 0.5 where there is no defect to measure it on."""
    if counts is None:
        return 0.5
    best = int(np.argmax(f1(counts.true_positives, counts.false_positives, counts.positives)))
    called = int(counts.true_positives[best] + counts.false_positives[best])
    rank = len(scores) - called
    return float(np.partition(scores, rank)[rank])


def _learn_products(
    settings: Settings, names: Sequence[str], train: ImageDataset, labels: Sequence[int]
) -> Recogniser:
    """Fit the recogniser on training images, and on noise as what shows no product."""
    chosen = _some_of_each(labels, MOST_EXAMPLES)
    size = (settings.data.height, settings.data.width)
    batches = (to_unit(train.images(part)) for part in train.batches(chosen, _BATCH))
    known = torch.cat([_appearance(images, size) for images in batches])
    generator = torch.Generator().manual_seed(settings.training.seed)
    unknown = torch.cat([appearance(images) for images in noise(*size, generator)])
    own = [labels[index] for index in chosen]
    return Recogniser.fit(known.numpy(), own, names, unknown.numpy())


def _appearance(frames: Tensor, window: tuple[int, int]) -> Tensor:
    """Features of frames of one size: as an inspection gives them, the mean of their windows."""
    parts = Cover.over(size_of(frames), window).parts()
    return torch.stack([appearance(frames[(..., *part)]) for part in parts]).mean(0)


def _some_of_each(labels: Sequence[int], most: int) -> list[int]:
    """Indices of at most so many images of each class, spread evenly over all of them."""
    own = np.asarray(labels)
    members = [np.flatnonzero(own == label) for label in np.unique(own)]
    chosen = [m[np.linspace(0, len(m) - 1, min(len(m), most)).round().astype(int)] for m in members]
    return [int(index) for indices in chosen for index in indices]
