"""Checking every file of a catalogue before anything starts."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.decode import check_mask_size, read_mask
from omnial.data.image_file import ImageError, image_size
from omnial.data.listing import listed
from omnial.data.prefetch import prefetch
from omnial.data.records import BadFile, Catalogue, ImageRecord, ProductClass
from omnial.errors import UserError
from omnial.progress import Progress, silent

_MOST_WORKERS = 16
"""Most threads that look at files."""
R = TypeVar("R")


def check_files(
    catalogue: Catalogue,
    settings: DataSettings,
    *,
    progress: Progress = silent,
    cache: InputCache | None = None,
) -> Catalogue:
    """Find every file that cannot be used, and every mask of another size than its image.

    Args:
        catalogue: What to check.
        settings: Give the largest size, the meaning of deep pixels, and `on_bad_file`: `skip`
            leaves out the bad images, and the images of bad masks, and notes them in `bad_files`.
        progress: Told how many files are done.
        cache: Spares the decoding of files that were found good before, and keeps the network
            inputs of the training images, so that check and first decoding are one pass.

    Raises:
        UserError: Files are bad and `on_bad_file` is `fail`; a region of interest is bad; or
            skipping leaves a class without training or without test images that it had.
    """
    if regions := bad_regions(catalogue.classes, settings):
        raise UserError(f"the region of interest cannot be used:\n{_lines(regions)}")
    look = partial(check_image, cache=cache or InputCache(None, settings))
    found = look_at_images(look, catalogue.classes, progress)
    bad = {record: one for record, one in found.items() if isinstance(one, BadFile)}
    if bad and settings.on_bad_file == "fail":
        raise UserError(
            f"{len(bad)} of {len(found)} images cannot be used; fix or remove these files, or "
            "leave them out: --skip-bad-files, in Python data.on_bad_file=skip for `train` and "
            f"skip_bad_files=True for `evaluate`\n{_lines(bad.values())}"
        )
    classes = tuple(_without(product, bad) for product in catalogue.classes)
    return Catalogue(classes, (*catalogue.bad_files, *bad.values()))


def bad_regions(products: Iterable[ProductClass], settings: DataSettings) -> list[BadFile]:
    """The regions of interest that cannot be used; none is decoded that is too large."""
    bad = []
    for region in (product.roi for product in products if product.roi is not None):
        try:
            image_size(region, settings.max_megapixels)
            read_mask(region)
        except ImageError as error:
            bad.append(BadFile(error.path, error.reason))
    return bad


def look_at_images(
    look: Callable[[ImageRecord], R], products: Iterable[ProductClass], progress: Progress
) -> dict[ImageRecord, R]:
    """What a function, called in threads, says of each image of some classes."""
    records = [record for product in products for record in product.images]
    results = prefetch(look, records, min(_MOST_WORKERS, os.cpu_count() or 1))
    found: dict[ImageRecord, R] = {}
    for record, result in zip(records, results, strict=True):
        found[record] = result
        progress("checking files", len(found), len(records))
    return found


def check_image(record: ImageRecord, cache: InputCache) -> tuple[int, int] | BadFile:
    """Height and width of an image, or why it, or its mask, cannot be used."""
    try:
        size = cache.check(record.path, "input" if record.split == "train" else "image")
        if record.mask is not None:
            check_mask_size(record.mask, image_size(record.mask), size)
            cache.check(record.mask, "mask")
    except ImageError as error:
        return BadFile(error.path, error.reason)
    return size


def _without(product: ProductClass, bad: dict[ImageRecord, BadFile]) -> ProductClass:
    """The class without its bad images; one that loses a whole split is an error."""
    train = tuple(record for record in product.train if record not in bad)
    test = tuple(record for record in product.test if record not in bad)
    for name, before, after in (("training", product.train, train), ("test", product.test, test)):
        if before and not after:
            reasons = _lines(bad[record] for record in before)
            raise UserError(f"none of the {name} images of {product.name} can be used:\n{reasons}")
    return replace(product, train=train, test=test)


def _lines(files: Iterable[BadFile]) -> str:
    return listed([f"{file.path}: {file.reason}" for file in files])
