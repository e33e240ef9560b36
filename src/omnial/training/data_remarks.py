"""What a training says about its images before it starts: how they are seen, and which are dim."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omnial.config.settings import DataSettings
from omnial.data.dataset import ImageDataset
from omnial.data.image_file import open_image
from omnial.data.records import ImageRecord
from omnial.untrusted import JSON

_DIM = 1 / 8
"""A class whose 16-bit files hold no larger value, of 1, is thought to hold fewer bits. [O]"""


def dim_classes(data: DataSettings, learn: Sequence[ImageRecord], store: ImageDataset) -> list[str]:
    """A sentence on each class whose 16-bit files use a small part of their range."""
    highest: dict[str, float] = {}
    for index, record in enumerate(learn):
        before = highest.get(record.class_name, 0.0)
        highest[record.class_name] = max(before, store.brightest(index))
    dim = {name for name, value in highest.items() if value <= _DIM}
    integer = {r.class_name for r in learn if r.class_name in dim and _is_integer(r.path)}
    return [
        f"{name}: no value of its 16-bit files exceeds {highest[name]:.1%} of what "
        f"significant_bits = {data.significant_bits} allows: almost black for the network. Give "
        "the number of bits that the camera fills, 10, 12 or 14 (--significant-bits)."
        for name in sorted(integer)
    ]


def _is_integer(path: Path) -> bool:
    with open_image(path) as image:
        return image.mode.startswith("I")


def geometry_line(settings: DataSettings, learn: Sequence[ImageRecord], store: ImageDataset) -> str:
    """Which classes are seen how, in one line."""
    total, seen = images_per_class(learn), images_in_windows(learn, store)
    windows = [
        name if seen[name] == total[name] else f"{name} ({seen[name]} of {total[name]} images)"
        for name in seen
        if seen[name]
    ]
    return f"geometry {settings.geometry}: in windows {', '.join(windows) or 'no class'}"


def images_in_windows(learn: Sequence[ImageRecord], store: ImageDataset) -> dict[str, JSON]:
    """How many of the images learnt from are seen through windows, of each class."""
    counts = dict.fromkeys((record.class_name for record in learn), 0)
    for index, record in enumerate(learn):
        counts[record.class_name] += store.in_windows(index)
    return dict(counts)


def images_per_class(records: Sequence[ImageRecord]) -> dict[str, JSON]:
    """How many records each class has."""
    return dict(Counter(record.class_name for record in records))
