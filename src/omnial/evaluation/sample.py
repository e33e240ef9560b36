"""Decoded test images with their masks, and batches of them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.cover import Cover, size_of
from omnial.data.decode import as_unit, network_input, network_mask, network_roi
from omnial.data.geometry import region_on
from omnial.data.prefetch import prefetch
from omnial.data.records import ImageRecord, ProductClass
from omnial.errors import UserError

DECODERS = 4
"""Threads that decode: Pillow leaves the interpreter free while it works."""


class Sample(NamedTuple):
    """One test image on its frame."""

    record: ImageRecord
    image: NDArray[Any]
    """(3, H, W), uint8 or float32 in [0, 1]."""
    valid: NDArray[np.bool_]
    """(H, W), the pixels that count: inside the region of interest, no padding."""
    mask: NDArray[np.bool_] | None
    """(H, W), the defects; None where the image has no mask."""


def load_sample(
    record: ImageRecord,
    product: ProductClass,
    settings: DataSettings,
    roi: NDArray[np.bool_] | None = None,
) -> Sample:
    """Decode one image of a class with its mask.

    `roi` is a region of interest (height, width) of the network input that the model brings along,
    besides the class's own.
    """
    image, placement = network_input(record.path, settings)
    valid = network_roi(product.roi, placement)
    if roi is not None:
        valid &= region_on(roi, placement)
        if not valid.any():
            raise UserError(
                f"{record.path}: the region of interest of the images ({product.roi}) lies wholly "
                f"outside the model's for {product.name}. Give the images the region that the "
                "model was trained with, or none."
            )
    mask = None if record.mask is None else network_mask(record.mask, placement)
    return Sample(record, image, valid, mask)


def sample_batches(
    records: Sequence[ImageRecord], load: Callable[[ImageRecord], Sample], batch_size: int
) -> Iterator[list[Sample]]:
    """Batches of decoded images in the given order, at most two batches ahead of the caller.

    `load` is called from several threads; what it raises is raised where its batch is due.
    """
    samples = prefetch(load, records, DECODERS, 2 * batch_size)
    while batch := list(islice(samples, batch_size)):
        yield batch


def in_windows(sample: Sample, settings: DataSettings) -> list[Sample]:
    """A sample as network inputs of their own: its windows, or itself where it is a single one."""
    cover = Cover.over(size_of(sample.image), (settings.height, settings.width))
    return [
        sample._replace(
            image=sample.image[(..., *part)],
            valid=sample.valid[part],
            mask=None if sample.mask is None else sample.mask[part],
        )
        for part in cover.parts()
    ]


def same_size(batch: Sequence[Sample]) -> list[list[Sample]]:
    """Part a batch, in order, into samples whose frames are of one size: those can be stacked."""
    return [list(run) for _, run in groupby(batch, lambda sample: sample.image.shape)]


def stack(batch: Sequence[Sample]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The images (B, 3, H, W) float32 in [0, 1] and valid pixels (B, H, W) bool of one size."""
    return (
        np.stack([as_unit(sample.image) for sample in batch]),
        np.stack([sample.valid for sample in batch]),
    )
