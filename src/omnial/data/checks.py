"""Checking every file of a catalogue before anything starts."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.decode import check_mask_size, read_mask, read_rgb
from omnial.data.image_file import ImageError, image_size
from omnial.data.listing import listed
from omnial.data.records import BadFile, Catalogue, ImageRecord, ProductClass
from omnial.errors import UserError

_MOST_WORKERS = 16


def check_files(
    catalogue: Catalogue,
    settings: DataSettings,
    *,
    decode: bool = True,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: InputCache | None = None,
) -> Catalogue:
    """Find every file that cannot be used, and every mask of another size than its image.

    Args:
        catalogue: what to check.
        settings: gives the largest size, the meaning of deep pixels, and `on_bad_file`.
        decode: decode images and masks in full, which finds truncated files; without, only
            their headers are read, some twenty times faster.
        workers: threads; by default one for each processor core.
        progress: called with the number of files done and the number of all.
        cache: spares the decoding of files that were found good before, and keeps the network
            inputs of the training images, so that check and first decoding are one pass.

    Returns:
        The catalogue; with `on_bad_file = "skip"` without the bad images (and images of bad
        masks), which stand in its `bad_files`.

    Raises:
        UserError: files are bad and `on_bad_file` is `fail`; a region of interest is bad; or
            skipping leaves a class without training or without test images that it had.
    """
    regions = [product.roi for product in catalogue.classes if product.roi is not None]
    bad_regions = [bad for bad in (_check_region(path, settings) for path in regions) if bad]
    if bad_regions:
        raise UserError(f"the region of interest cannot be used:\n{_lines(bad_regions)}")

    records = [r for product in catalogue.classes for r in (*product.train, *product.test)]
    bad: dict[ImageRecord, BadFile] = {}
    executor = ThreadPoolExecutor(workers or min(_MOST_WORKERS, os.cpu_count() or 1))
    try:
        results = executor.map(lambda record: _check(record, settings, decode, cache), records)
        for done, (record, found) in enumerate(zip(records, results, strict=True), start=1):
            if found is not None:
                bad[record] = found
            if progress is not None:
                progress(done, len(records))
    finally:
        # An interrupt must not wait for thousands of files.
        executor.shutdown(cancel_futures=True)
    if bad and settings.on_bad_file == "fail":
        raise UserError(
            f"{len(bad)} of {len(records)} images cannot be used; fix or remove these files, or "
            "leave them out: --skip-bad-files, in Python data.on_bad_file=skip for `train` and "
            f"skip_bad_files=True for `evaluate`\n{_lines(list(bad.values()))}"
        )
    classes = tuple(_without(product, bad) for product in catalogue.classes)
    return Catalogue(classes, (*catalogue.bad_files, *bad.values()))


def _check(
    record: ImageRecord, settings: DataSettings, decode: bool, cache: InputCache | None
) -> BadFile | None:
    """Check one image and its mask."""
    try:
        size = _check_image(record, settings, decode, cache)
        if record.mask is not None:
            check_mask_size(record.mask, image_size(record.mask), size)
            if decode and cache is not None:
                cache.check(record.mask, "mask")
            elif decode:
                read_mask(record.mask)
    except ImageError as error:
        return BadFile(error.path, error.reason)
    return None


def _check_image(
    record: ImageRecord, settings: DataSettings, decode: bool, cache: InputCache | None
) -> tuple[int, int]:
    """Check one image; returns its height and width."""
    if not decode:
        return image_size(record.path, settings.max_megapixels)
    if cache is None:
        height, width = read_rgb(record.path, settings).shape[:2]
        return height, width
    if record.split == "train":
        return cache.check_input(record.path)
    return cache.check(record.path, "image")


def _check_region(path: Path, settings: DataSettings) -> BadFile | None:
    try:
        image_size(path, settings.max_megapixels)
        read_mask(path)
    except ImageError as error:
        return BadFile(error.path, error.reason)
    return None


def _without(product: ProductClass, bad: dict[ImageRecord, BadFile]) -> ProductClass:
    """The class without its bad images; one that loses a whole split is an error."""
    train = tuple(record for record in product.train if record not in bad)
    test = tuple(record for record in product.test if record not in bad)
    for name, before, after in (("training", product.train, train), ("test", product.test, test)):
        if before and not after:
            reasons = [bad[record] for record in before]
            raise UserError(
                f"none of the {name} images of {product.name} can be used:\n{_lines(reasons)}"
            )
    return replace(product, train=train, test=test)


def _lines(files: Sequence[BadFile]) -> str:
    return listed([f"{file.path}: {file.reason}" for file in files])
