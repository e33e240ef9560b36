"""Looking at every file of a data set: before anything starts, and to say what it holds."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.decode import check_mask_size, read_mask
from omnial.data.image_file import ImageError, image_size
from omnial.data.layouts import discover
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

    With `on_bad_file` `skip`, bad images and the images of bad masks are left out and noted in
    `bad_files`; a UserError says that a class lost all its training or all its test images, or that
    a region of interest is bad. The cache spares the decoding of files that were found good before,
    and keeps the network inputs of the training images: check and first decoding are one pass.
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


@dataclass(frozen=True)
class ClassSummary:
    """The images of one product, counted."""

    layout: str
    folder: Path
    train: int
    """Defect-free images to learn from."""
    good: int
    """Defect-free test images."""
    defective: int
    masks: int
    kinds: dict[str, int]
    """Defective test images of each kind."""
    sizes: int
    """How many sizes in pixels the images have."""
    smallest: tuple[int, int] | None
    """Width and height; None if no image can be read."""
    largest: tuple[int, int] | None
    region_of_interest: bool
    unused: int
    """Files that the layout knows, and omnial has no use for."""


@dataclass(frozen=True)
class DataSummary:
    """The classes of data folders by name, and what is suspicious about their files."""

    classes: dict[str, ClassSummary]
    bad_files: tuple[BadFile, ...]
    duplicates: tuple[tuple[Path, ...], ...]
    """Files of one content that are in training and test data, in two classes, or good and
    defective."""


class _Found(NamedTuple):
    """An image's height and width, or why it cannot be used; its content's digest."""

    size: tuple[int, int] | BadFile
    digest: bytes | None


def describe_data(
    roots: Sequence[Path], settings: DataSettings, *, progress: Progress = silent
) -> DataSummary:
    """Recognise the layout of data folders, count their images, and open every file.

    Raises:
        UserError: A folder is missing or holds no classes; images and masks do not match; see
            `omnial.data.layouts.discover`.
    """
    products = discover(roots, need="any").classes
    look = partial(_look, cache=InputCache(None, settings))
    found = look_at_images(look, products, progress)
    bad = [one.size for one in found.values() if isinstance(one.size, BadFile)]
    return DataSummary(
        {product.name: _summary(product, found) for product in products},
        (*bad, *bad_regions(products, settings)),
        _duplicates(found),
    )


def _look(record: ImageRecord, cache: InputCache) -> _Found:
    digest = None
    with suppress(ImageError):  # the check says why
        digest = cache.content(record.path)
    return _Found(check_image(record, cache), digest)


def _summary(product: ProductClass, found: dict[ImageRecord, _Found]) -> ClassSummary:
    sizes = {
        (size[1], size[0])
        for record in product.images
        if not isinstance(size := found[record].size, BadFile)
    }
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    kinds = Counter(record.kind for record in product.test if record.anomalous)
    return ClassSummary(
        layout=product.layout,
        folder=product.root,
        train=len(product.train),
        good=sum(not record.anomalous for record in product.test),
        defective=kinds.total(),
        masks=sum(record.mask is not None for record in product.test),
        kinds=dict(sorted(kinds.items())),
        sizes=len(sizes),
        smallest=by_area[0] if by_area else None,
        largest=by_area[-1] if by_area else None,
        region_of_interest=product.roi is not None,
        unused=len(product.unused),
    )


def _duplicates(found: dict[ImageRecord, _Found]) -> tuple[tuple[Path, ...], ...]:
    alike = defaultdict[bytes, list[ImageRecord]](list)
    for record, one in found.items():
        if one.digest is not None:
            alike[one.digest].append(record)
    return tuple(
        tuple(record.path for record in records)
        for records in alike.values()
        if len({(record.class_name, record.split, record.anomalous) for record in records}) > 1
    )
