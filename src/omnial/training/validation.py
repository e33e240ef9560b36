"""After training: thresholds, product recognition and figures, from validation images alone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from omnial.calibration.recogniser import Recogniser
from omnial.calibration.thresholds import Calibration, calibrate
from omnial.config.settings import Settings
from omnial.metrics.ranking import Counts, auroc, average_precision, count, f1
from omnial.models.runner import Inspection, inspect_frames
from omnial.synthesis.random import SampleRandom
from omnial.synthesis.recipe import synthesize
from omnial.training.feed import ImageStore, to_unit

_BATCH = 16  # windows at once
_VALIDATION_STEP = 2**40  # no training step has this number
_DEFECT_IMAGES = 200  # validation images, over all classes, that get a synthesized defect
_RECOGNISER_IMAGES = 100  # training images a class that the recogniser is fitted on


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
        _inspect(network, settings, validation, part)
        for part in validation.batches(range(len(validation)), _BATCH)
    ]
    scores = np.concatenate([part.scores for part in normal])
    features = np.concatenate([part.features for part in normal])
    broken, maps, masks = _inspect_defects(network, settings, validation)
    own = np.asarray(labels)
    fit_on = _first_of_each(train_labels, _RECOGNISER_IMAGES)
    known = np.concatenate(
        [
            _inspect(network, settings, train, part).features
            for part in train.batches(fit_on, _BATCH)
        ]
    )
    recogniser = Recogniser.fit(known, [train_labels[index] for index in fit_on], names)
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
    for part in store.batches(range(0, len(store), every), _BATCH):
        images = to_unit(store.images(part))
        region = store.regions(part)
        # The texture of each image is its neighbour in the batch.
        random = SampleRandom(settings.training.seed, _VALIDATION_STEP, torch.tensor(part))
        sample = synthesize(images, images.roll(1, 0), recipe, random, region)
        inspection = inspect_frames(network, settings, sample.anomalous, region[:, 0])
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
    images, region = to_unit(store.images(part)), store.regions(part)[:, 0]
    return inspect_frames(network, settings, images, region)


def _first_of_each(labels: Sequence[int], most: int) -> list[int]:
    """Indices of at most so many images of each class."""
    seen: dict[int, int] = {}
    kept = []
    for index, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= most:
            kept.append(index)
    return kept
