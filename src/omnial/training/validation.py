"""After training: thresholds, product recognition and figures, from validation images alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from omnial.config.settings import Settings
from omnial.data.dataset import ImageDataset, to_unit
from omnial.metrics.psnr_ssim import defect_distances, erased, psnr
from omnial.metrics.ranking import Figures, auroc, average_precision, count, f1
from omnial.model_folder.validation_figures import ValidationFigures
from omnial.models.appearance import appearance, appearance_of_frames
from omnial.models.each_core import on_each_core
from omnial.models.normality import Normality, with_normality
from omnial.models.prediction import Prediction
from omnial.models.recogniser import MOST_EXAMPLES, Recogniser
from omnial.models.thresholds import Calibration, calibrate
from omnial.models.torch_backend import predict_frames
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize
from omnial.training.learn_normality import Learnt, learn_normality, some_of_each
from omnial.training.noise import noise

_BATCH = 16  # windows at once
_VALIDATION_STEP = 2**40  # no training step has this number
_DEFECT_IMAGES = 200  # validation images, over all classes, that are drawn on


class Validated(NamedTuple):
    """Thresholds, recogniser, normality and figures of a trained network."""

    calibration: Calibration
    recogniser: Recogniser
    normality: dict[str, Normality]
    suspicious: list[tuple[int, float]]
    """Numbers of training images that may not be good, and their scores, the highest first."""
    figures: ValidationFigures


class _Drawn(NamedTuple):
    """Result on an image with a synthesized defect."""

    label: int
    """Class number."""
    score: float
    map: NDArray[np.float32]
    """The scores of the pixels in the region of interest."""
    mask: NDArray[np.bool_]
    """The labels of the same pixels; a few images show no defect."""
    left: float
    """Squared distance of the reconstruction to the image without the defect."""
    drawn: float
    """Squared distance of the image with the defect."""


def validate(
    network: nn.Module,
    settings: Settings,
    names: Sequence[str],
    train: ImageDataset,
    train_labels: Sequence[int],
    validation: ImageDataset,
    labels: Sequence[int],
) -> Validated:
    """Learn what is normal and to recognise products, and set thresholds.

    Recogniser and normality are fitted on images that the network was trained on. Normal
    validation images, which it has not seen, set the thresholds, and with synthesized defects the
    outline level, that of the best pixel F1. Labels are class numbers, indices of `names`.
    """
    own, learnt = np.asarray(labels), Learnt({}, np.full(len(train_labels), np.nan))
    if settings.model.normality != "none":
        learnt = learn_normality(network, settings, names, train, train_labels, validation, labels)
    inspect = _Inspect(network, settings, names, learnt.normality)
    scores, ratios = _inspect_normal(inspect, validation, own)
    drawn = _inspect_defects(inspect, validation, own)
    recogniser = _learn_products(settings, names, train, train_labels)
    recognised = recogniser.recognise(looks(settings, validation, range(len(validation))))
    right = np.array([name == names[label] for name, label in zip(recognised, labels, strict=True)])
    figures, by_class = {}, {}
    for index, name in enumerate(names):
        of_class, defective = own == index, [image for image in drawn if image.label == index]
        by_class[name] = scores[of_class]
        figures[name] = _figures(scores[of_class], ratios[of_class], right[of_class], defective)
    rate = settings.calibration.false_alarm_rate
    calibration = calibrate(by_class, _outline_level(drawn), rate)
    suspicious = learnt.suspicious(train_labels, scores, own)
    return Validated(
        calibration, recogniser, learnt.normality, suspicious, ValidationFigures.over(figures)
    )


def _figures(
    normal: NDArray[np.float64],
    ratios: NDArray[np.float64],
    right: NDArray[np.bool_],
    drawn: Sequence[_Drawn],
) -> Figures:
    """Figures of one class: scores, PSNR and recognition of its normal images, and its defects."""
    # What is defective is what the mask says: the synthesis may draw what nobody sees.
    labels = np.array([False] * len(normal) + [bool(image.mask.any()) for image in drawn], bool)
    images = count(np.append(normal, [image.score for image in drawn]), labels)
    pixels = count(*_pixels(drawn))
    left = float(np.sum([image.left for image in drawn]))
    distance = float(np.sum([image.drawn for image in drawn]))
    return {
        "image_auroc": None if images is None else auroc(images),
        "pixel_ap": None if pixels is None else average_precision(pixels),
        "psnr": float(ratios.mean()) if ratios.size else None,
        "erased": erased(left, distance) if distance else None,
        "recognised": float(right.mean()) if right.size else None,
    }


def _pixels(drawn: Sequence[_Drawn]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores and labels of all pixels."""
    scores = np.concatenate([np.empty(0, np.float32), *(image.map for image in drawn)])
    return scores, np.concatenate([np.empty(0, bool), *(image.mask for image in drawn)])


def _inspect_normal(
    inspect: "_Inspect", dataset: ImageDataset, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores (n,) and PSNR (n,) in dB of all images of a dataset as they are."""

    def look(part: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        images, region = to_unit(dataset.images(part)), dataset.regions(part)[:, 0]
        found = inspect(images, region, labels[part])
        assert found.reconstruction is not None
        return found.scores, psnr(found.reconstruction, images, region)

    parts = on_each_core(look, dataset.batches(range(len(dataset)), _BATCH), inspect.network)
    scores, ratios = map(np.concatenate, zip(*parts, strict=True))
    return scores, ratios


def _inspect_defects(
    inspect: "_Inspect", dataset: ImageDataset, labels: NDArray[np.int64]
) -> list[_Drawn]:
    """Inspect images of every class with a synthesized defect."""
    settings = inspect.settings
    recipe = settings.synthesis.model_copy(update={"anomalous_share": 1.0})
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = -(-_DEFECT_IMAGES // len(classes))
    chosen = [int(index) for own in classes for index in own[:: -(-len(own) // most)]]

    def look(part: list[int]) -> list[_Drawn]:
        images, region = to_unit(dataset.images(part)), dataset.regions(part)
        # The texture of each image is its neighbour in the batch, or the one before.
        textures = images.roll(1, 0)
        if len(part) == 1:
            before = to_unit(dataset.images([chosen[chosen.index(part[0]) - 1]]))
            textures = F.interpolate(before, images.shape[-2:], mode="bilinear")
        random = SampleRandom(settings.training.seed, _VALIDATION_STEP, torch.tensor(part))
        sample = synthesize(images, textures, recipe, random, region)
        result = inspect(sample.anomalous, region[:, 0], labels[part])
        assert result.reconstruction is not None
        restored = torch.from_numpy(result.reconstruction)
        sums = defect_distances(restored, sample.anomalous, sample.normal, sample.mask)
        left, drawn = (values.tolist() for values in sums)
        found = []
        for row, inside in enumerate(region[:, 0].numpy()):
            label, mask = int(labels[part[row]]), sample.mask[row, 0].numpy()[inside] > 0
            scores, score = result.score_maps[row][inside], float(result.scores[row])
            found.append(_Drawn(label, score, scores, mask, left[row], drawn[row]))
        return found

    batches = dataset.batches(chosen, _BATCH)
    return [one for part in on_each_core(look, batches, inspect.network) for one in part]


class _Inspect(NamedTuple):
    """A trained network with what is normal for its products."""

    network: nn.Module
    settings: Settings
    names: Sequence[str]
    normality: dict[str, Normality]

    def __call__(self, images: Tensor, region: Tensor, labels: NDArray[np.int64]) -> Prediction:
        """The prediction for a batch of frames of one size, larger ones in windows."""
        rule, valid = self.settings.model.image_score, region.numpy()
        found = predict_frames(self.network, images, valid, self.settings)
        names = [self.names[label] for label in labels]
        return with_normality(found, self.normality, names, valid, rule)


def _outline_level(drawn: Sequence[_Drawn]) -> float:
    """The pixel score with the best F1, or 0.5 where there is no defect to measure it on."""
    scores, labels = _pixels(drawn)
    counts = count(scores, labels)
    if counts is None:
        return 0.5
    best = int(np.argmax(f1(counts.true_positives, counts.false_positives, counts.positives)))
    rank = len(scores) - int(counts.true_positives[best] + counts.false_positives[best])
    return float(np.partition(scores, rank)[rank])


def _learn_products(
    settings: Settings, names: Sequence[str], train: ImageDataset, labels: Sequence[int]
) -> Recogniser:
    """Fit the recogniser on training images, and on noise as what shows no product."""
    chosen = some_of_each(labels, MOST_EXAMPLES)
    known = looks(settings, train, chosen)
    size = (settings.data.height, settings.data.width)
    generator = torch.Generator().manual_seed(settings.training.seed)
    unknown = np.concatenate([appearance(images.numpy()) for images in noise(*size, generator)])
    own = [labels[index] for index in chosen]
    return Recogniser.fit(known, own, names, unknown)


def looks(settings: Settings, dataset: ImageDataset, chosen: Sequence[int]) -> NDArray[np.float32]:
    """(n, F) of some images: how they look, by which their product is recognised."""
    size = (settings.data.height, settings.data.width)
    batches = (to_unit(dataset.images(part)).numpy() for part in dataset.batches(chosen, _BATCH))
    return np.concatenate([appearance_of_frames(frames, size) for frames in batches])
