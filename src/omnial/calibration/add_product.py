"""`omnial add`: a product that the network was not trained on, learnt from good images alone.

The network stays as it is. What is normal for the product, its threshold and its look are learnt
from its images in the way of a training; those of the other products stay bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.cache import InputCache, open_cache
from omnial.data.dataset import class_regions, load_dataset
from omnial.data.layouts import discover
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.inference.inspector import score_files
from omnial.metrics.ranking import Figures
from omnial.model_folder.config_file import check_free
from omnial.model_folder.validation_figures import ValidationFigures
from omnial.model_folder.weights_file import load_model, save_changed
from omnial.models.recogniser import Recogniser
from omnial.models.thresholds import Calibration, threshold
from omnial.models.trained_model import TrainedModel
from omnial.training.good_images import GoodImages
from omnial.training.validation import looks, validate


@dataclass(frozen=True)
class AddedProduct:
    """What was learnt about one product."""

    images: int
    """Good images that what is normal and the look were learnt from."""
    held_out: int
    """Other good images, whose scores set the threshold."""
    threshold: float
    own: bool
    """False where the images held out are too few for the false-alarm rate."""
    figures: Figures
    """Of the images held out, see `omnial.model_folder.validation_figures`."""


@dataclass(frozen=True)
class AddReport:
    """Result of adding products."""

    folder: Path
    false_alarm_rate: float
    products: Mapping[str, AddedProduct]
    trained: Figures | None
    """Means over the products that the network was trained on; None where they are not known."""
    bad_files: tuple[BadFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """What `omnial add --json` prints."""
        return asdict(self)


def add_product(
    folder: Path,
    roots: Sequence[Path],
    out: Path,
    *,
    skip_bad_files: bool = False,
    device: str = "auto",
    reading: Reading = AS_TRAINED,
) -> AddReport:
    """Write a model that knows the products of a model folder and those of the data.

    A product whose held-out images are too few for the false-alarm rate gets the largest of their
    scores as its threshold, or that of all products together where it is larger.
    """
    check_free(out)
    stored = load_model(folder, device)
    data = reading.of(stored.settings.data)
    if skip_bad_files:
        data = data.model_copy(update={"on_bad_file": "skip"})
    model = replace(stored, settings=stored.settings.model_copy(update={"data": data}))
    cache = open_cache(data)
    images = _new_images(folder, model, roots, cache)
    added, figures = _learn(model, images, cache)
    held_out = images.held_out
    scores = {
        name: score_files(added, [one.path for one in held_out if one.class_name == name], name)
        for name in figures
    }
    added.calibration = _extended(model.calibration, scores)
    products = {
        name: AddedProduct(
            images=sum(record.class_name == name for record in images.learn),
            held_out=len(own),
            threshold=added.calibration.threshold_for(name),
            own=threshold(own, 1.0 - model.calibration.false_alarm_rate) is not None,
            figures=figures[name],
        )
        for name, own in scores.items()
    }
    trained = ValidationFigures.of_training(model.training)
    report = AddReport(
        folder=out,
        false_alarm_rate=model.calibration.false_alarm_rate,
        products=products,
        trained=None if trained is None else trained.mean,
        bad_files=images.catalogue.bad_files,
    )
    facts = {name: asdict(product) for name, product in products.items()}
    save_changed(out, folder, replace(added, settings=stored.settings), "add", facts)
    return report


def _new_images(
    folder: Path, model: TrainedModel, roots: Sequence[Path], cache: InputCache
) -> GoodImages:
    """Good images of products that the model does not know, split as a training splits them."""
    found = discover(roots, need="train")
    if known := sorted(set(found.names) & set(model.classes)):
        raise UserError(
            f"{folder} knows {', '.join(known)} already. Set its threshold from more good "
            "images with `omnial calibrate`, or train further with `omnial train --init`."
        )
    images = GoodImages.load(found, model.settings, cache, model.trained_files)
    held_out = {record.class_name for record in images.held_out}
    if few := sorted(set(images.catalogue.names) - held_out):
        raise UserError(
            f"Too few images of {', '.join(few)}: none is left to set the threshold with. "
            "Give at least 5 different good images of each product, better 100."
        )
    return images


def _learn(
    model: TrainedModel, images: GoodImages, cache: InputCache
) -> tuple[TrainedModel, dict[str, Figures]]:
    """The model with the new products, without their thresholds, and the products' figures."""
    settings, catalogue = model.settings, images.catalogue
    names, classes = catalogue.names, model.classes + catalogue.names
    train = load_dataset(images.learn, catalogue, settings.data, cache)
    held_out = load_dataset(images.held_out, catalogue, settings.data, cache)
    seen, new = images.labels(images.learn), images.labels(images.held_out)
    validated = validate(model.network, settings, names, train, seen, held_out, new)
    counts = np.concatenate([model.recogniser.counts, validated.recogniser.counts])
    recogniser = Recogniser.fit(
        np.concatenate([model.recogniser.examples, validated.recogniser.examples]),
        np.repeat(np.arange(len(counts)), counts),
        classes,
        model.recogniser.no_product,
    )
    found_in = looks(settings, held_out, range(len(new)))
    recognised, figures = recogniser.recognise(found_in), dict[str, Figures]()
    for index, name in enumerate(names):
        own = [
            found == name for found, label in zip(recognised, new, strict=True) if label == index
        ]
        figures[name] = {**validated.figures.classes[name], "recognised": float(np.mean(own))}
    added = replace(
        model,
        classes=classes,
        calibration=model.calibration.changed(dict.fromkeys(names, ()), dict.fromkeys(names, None)),
        recogniser=recogniser,
        rois={**model.rois, **class_regions(images.learn, catalogue, settings.data, train)},
        normality={**model.normality, **validated.normality},
        # Without normality, nothing makes them score lower than new ones.
        trained_files=images.trained_files if validated.normality else model.trained_files,
    )
    return added, figures


def _extended(before: Calibration, scores: Mapping[str, Sequence[float]]) -> Calibration:
    """The calibration with the thresholds of more classes, of at least one score each."""
    own = {
        name: threshold(values, 1.0 - before.false_alarm_rate) for name, values in scores.items()
    }
    few = {name: max(before.pooled, *scores[name]) for name, value in own.items() if value is None}
    return before.changed(scores, {**own, **few})
