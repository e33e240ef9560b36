"""What a data set holds, and which of its files are suspicious."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.checks import bad_regions, check_image, look_at_images
from omnial.data.image_file import ImageError
from omnial.data.layouts import discover
from omnial.data.records import BadFile, ImageRecord, ProductClass
from omnial.progress import Progress, silent


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
