"""After training: thresholds, product recognition and figures, from validation images alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from omnial.calibration.recogniser import MOST_EXAMPLES, Recogniser
from omnial.calibration.thresholds import Calibration, calibrate
from omnial.config.settings import Settings
from omnial.metrics.ranking import Counts, auroc, average_precision, count, f1
from omnial.models.appearance import appearance
from omnial.models.noise import noise
from omnial.models.runner import Inspection, inspect_images
from omnial.synthesis.random import SampleRandom
from omnial.synthesis.recipe import synthesize
from omnial.training.feed import ImageStore, to_unit

_BATCH = 16
_VALIDATION_STEP = 2**40  # no training step has this number
_DEFECT_IMAGES = 200  # validation images, over all classes, that get a synthesized defect


class Validated(NamedTuple):
    """What the validation images say about a trained network."""

    calibration: Calibration
    recogniser: Recogniser
    figures: Mapping[str, float | None]
    """`image_auroc` and `pixel_ap` against synthesized defects; share of products recognised."""


def validate(
    network: nn.Module,
    settings: Settings,
    names: Sequence[str],
    train: ImageStore,
    train_labels: Sequence[int],
    validation: ImageStore,
    labels: Sequence[int],
) -> Validated:
    """Set thresholds and learn to recognise products.

    Args:
        network: The trained network.
        settings: The run.
        names: The classes.
        train: Images the network was trained on; the recogniser is fitted on them.
        train_labels: Class number of each.
        validation: Normal images that it has not seen.
        labels: Class number of each.

    Returns:
        Thresholds from the normal images; the outline level that gives the best pixel F1 on
        the same images with synthesized defects; the recogniser; figures.
    """
    normal = [
        _inspect(network, settings, validation, part) for part in _parts(range(len(validation)))
    ]
    scores = np.concatenate([part.scores for part in normal])
    features = np.concatenate([part.features for part in normal])
    broken, maps, masks = _inspect_defects(network, settings, validation)
    own = np.asarray(labels)
    recogniser = _learn_products(settings, names, train, train_labels)
    recognised = recogniser.recognise(features)
    right = [name == names[label] for name, label in zip(recognised, labels, strict=True)]
    pixels = count(maps, masks)
    defective = count(
        np.concatenate([scores, broken]),
        np.repeat([False, True], [len(scores), len(broken)]),
    )
    return Validated(
        calibration=calibrate(
            {name: scores[own == index] for index, name in enumerate(names)},
            _outline_level(pixels, maps),
            settings.calibration.false_alarm_rate,
        ),
        recogniser=recogniser,
        figures={
            "image_auroc": None if defective is None else auroc(defective),
            "pixel_ap": None if pixels is None else average_precision(pixels),
            "recognised": float(np.mean(right)),
        },
    )


def _inspect_defects(
    network: nn.Module, settings: Settings, store: ImageStore
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
    """Scores, pixel scores and labels of the images with a synthesized defect in each."""
    recipe = settings.synthesis.model_copy(update={"anomalous_share": 1.0})
    scores, maps, masks = [], [], []
    every = -(-len(store) // _DEFECT_IMAGES)
    for part in _parts(range(0, len(store), every)):
        images = to_unit(store.images(part))
        region = store.regions(part)
        # The texture of each image is its neighbour in the batch.
        random = SampleRandom(settings.training.seed, _VALIDATION_STEP, torch.tensor(part))
        sample = synthesize(images, images.roll(1, 0), recipe, random, region)
        inspection = inspect_images(
            network, sample.anomalous, region[:, 0], settings.model.image_score
        )
        scores.append(inspection.scores)
        inside = region[:, 0].numpy()
        maps.append(inspection.score_maps[inside])
        masks.append(sample.mask[:, 0].numpy()[inside] > 0)
    return np.concatenate(scores), np.concatenate(maps), np.concatenate(masks)


def _outline_level(counts: Counts | None, scores: NDArray[np.float32]) -> float:
    """The pixel score with the best F1, or 0.5 where there is no defect to measure it on."""
    if counts is None:
        return 0.5
    best = int(np.argmax(f1(counts.true_positives, counts.false_positives, counts.positives)))
    called = int(counts.true_positives[best] + counts.false_positives[best])
    rank = len(scores) - called
    return float(np.partition(scores, rank)[rank])


def _inspect(
    network: nn.Module, settings: Settings, store: ImageStore, part: Sequence[int]
) -> Inspection:
    rule = settings.model.image_score
    return inspect_images(network, to_unit(store.images(part)), store.regions(part)[:, 0], rule)


def _parts(indices: Sequence[int]) -> list[list[int]]:
    return [list(indices[start : start + _BATCH]) for start in range(0, len(indices), _BATCH)]


def _learn_products(
    settings: Settings, names: Sequence[str], train: ImageStore, labels: Sequence[int]
) -> Recogniser:
    """Fit the recogniser on training images, and on noise as what shows no product."""
    chosen = _some_of_each(labels, MOST_EXAMPLES)
    known = [appearance(to_unit(train.images(part))) for part in _parts(chosen)]
    generator = torch.Generator().manual_seed(settings.training.seed)
    size = (settings.data.height, settings.data.width)
    unknown = [appearance(images) for images in noise(*size, generator)]
    return Recogniser.fit(
        torch.cat(known).numpy(),
        [labels[index] for index in chosen],
        names,
        torch.cat(unknown).numpy(),
    )


def _some_of_each(labels: Sequence[int], most: int) -> list[int]:
    """Indices of at most so many images of each class, spread evenly over all of them."""
    own = np.asarray(labels)
    members = [np.flatnonzero(own == label) for label in np.unique(own)]
    kept = [np.linspace(0, len(m) - 1, min(len(m), most)).round().astype(int) for m in members]
    return [int(index) for m, k in zip(members, kept, strict=True) for index in m[k]]
