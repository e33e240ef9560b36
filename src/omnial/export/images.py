"""Images that an export is calibrated on and compared with PyTorch on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import AS_TRAINED, DataSettings, Reading
from omnial.data.decode import as_unit
from omnial.data.layouts import discover
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.data.split import split_validation
from omnial.evaluation.sample import Sample, in_windows, load_sample
from omnial.inference.verify import make_inputs
from omnial.models.trained_model import TrainedModel

_T = TypeVar("_T")

CALIBRATION_IMAGES = 128
"""Normal images that INT8's ranges are taken from, over all classes. [O]"""


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
    """Choose images of a data set, evenly over its classes, the same in every run.

    Args:
        roots: Data folders, see `omnial.data.layouts.discover`.
        model: Says how files become network input, and which images it did not learn from.
        most: Images to compare on, over all classes; each class has at least two.
        reading: How pictures are read, where that differs from the training.

    Raises:
        UserError: The data is bad, or an image cannot be read.
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
    good = [record for record in product.test if not record.anomalous]
    bad = [record for record in product.test if record.anomalous]
    if not good and not bad:
        return spread(others, most)
    half = most // 2
    return [
        *spread(good, max(half, most - len(bad))),
        *spread(bad, max(half, most - len(good))),
    ]
