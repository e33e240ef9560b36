"""Checking every file of a catalogue before anything starts."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.decode import check_mask_size, read_mask
from omnial.data.image_file import ImageError, image_size
from omnial.data.listing import listed
from omnial.data.prefetch import prefetch
from omnial.data.records import BadFile, Catalogue, ImageRecord, ProductClass
from omnial.errors import UserError

MOST_WORKERS = 16
"""Most threads that look at files."""


def check_files(
    catalogue: Catalogue,
    settings: DataSettings,
    *,
    progress: Callable[[int, int], None] | None = None,
    cache: InputCache | None = None,
) -> Catalogue:
    """Find every file that cannot be used, and every mask of another size than its image.

    Args:
        catalogue: What to check.
        settings: Give the largest size, the meaning of deep pixels, and `on_bad_file`: `skip`
            leaves out the bad images, and the images of bad masks, and notes them in `bad_files`.
        progress: Called with the number of files done and the number of all.
        cache: Spares the decoding of files that were found good before, and keeps the network
            inputs of the training images, so that check and first decoding are one pass.

    Raises:
        UserError: Files are bad and `on_bad_file` is `fail`; a region of interest is bad; or
            skipping leaves a class without training or without test images that it had.
    """
    if regions := bad_regions(catalogue.classes, settings):
        raise UserError(f"the region of interest cannot be used:\n{_lines(regions)}")
    records = [r for product in catalogue.classes for r in (*product.train, *product.test)]
    bad: dict[ImageRecord, BadFile] = {}
    check = partial(_check, cache=cache or InputCache(None, settings))
    results = prefetch(check, records, min(MOST_WORKERS, os.cpu_count() or 1))
    for done, (record, found) in enumerate(zip(records, results, strict=True), start=1):
        if found is not None:
            bad[record] = found
        if progress is not None:
            progress(done, len(records))
    if bad and settings.on_bad_file == "fail":
        raise UserError(
            f"{len(bad)} of {len(records)} images cannot be used; fix or remove these files, or "
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


def check_image(record: ImageRecord, cache: InputCache) -> tuple[int, int]:
    """Height and width of an image; an `ImageError` says why it, or its mask, cannot be used."""
    size = cache.check(record.path, "input" if record.split == "train" else "image")
    if record.mask is not None:
        check_mask_size(record.mask, image_size(record.mask), size)
        cache.check(record.mask, "mask")
    return size


def _check(record: ImageRecord, cache: InputCache) -> BadFile | None:
    try:
        check_image(record, cache)
    except ImageError as error:
        return BadFile(error.path, error.reason)
    return None


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
