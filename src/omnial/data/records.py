"""What a data set is made of, whatever its layout on disk, and which images are held out."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omnial.config.settings import DataSettings

GOOD = "good"
"""The kind of a defect-free image."""


@dataclass(frozen=True)
class ImageRecord:
    """One image file and what is known about it."""

    path: Path
    class_name: str
    split: Literal["train", "test"]
    kind: str
    """`good`, or the kind of defect."""
    mask: Path | None = None
    """The defect's mask; None for good images and where only the image's label is known."""

    @property
    def anomalous(self) -> bool:
        """Whether its kind is another than `good`."""
        return self.kind != GOOD


@dataclass(frozen=True)
class ProductClass:
    """The images of one product, each tuple in a fixed order."""

    name: str
    root: Path
    """The class's own folder."""
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]
    roi: Path | None = None
    """Image of the region of interest: nothing is scored or synthesised where it is black."""
    layout: str = ""
    """What its folder was recognised as."""
    unused: tuple[Path, ...] = ()
    """Files that the layout knows and omnial has no use for, such as defective training images."""

    @property
    def images(self) -> tuple[ImageRecord, ...]:
        """The images for training, then those for testing."""
        return *self.train, *self.test

    @property
    def files(self) -> list[Path]:
        """All files of the class: images, masks, the region of interest, and those not used."""
        pairs = [path for record in self.images for path in (record.path, record.mask)]
        return [path for path in (*pairs, self.roi, *self.unused) if path is not None]


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, and why."""

    path: Path
    reason: str

    def to_dict(self) -> dict[str, str]:
        """JSON values."""
        return {"path": str(self.path), "reason": self.reason}


@dataclass(frozen=True)
class Catalogue:
    """The classes of a run, sorted by name."""

    classes: tuple[ProductClass, ...]
    bad_files: tuple[BadFile, ...] = ()
    """Files that were left out because the settings say `on_bad_file = "skip"`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in order."""
        return tuple(product.name for product in self.classes)


def split_validation(
    records: Sequence[ImageRecord], settings: DataSettings, seed: int
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Training images to learn from, and those to validate on, both in the order of `records`.

    Of a class's n images, min(max(round(share * n), at_least), n // 5) are held out, with
    `validation_share` and `validation_at_least` of the settings: those with the smallest hash of
    seed, class and file name. So the choice does not depend on where the data lies or on the order
    of the records, and a new file moves at most a few others.
    """

    def rank(record: ImageRecord) -> tuple[bytes, Path]:
        names = (str(seed), record.class_name, record.path.parent.name, record.path.name)
        text = "\0".join(names).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=16).digest(), record.path

    classes: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        classes[record.class_name].append(record)
    held_out: set[ImageRecord] = set()
    for members in classes.values():
        total = len(members)
        wanted = max(round(settings.validation_share * total), settings.validation_at_least)
        held_out.update(sorted(members, key=rank)[: min(wanted, total // 5)])
    train = [record for record in records if record not in held_out]
    return train, [record for record in records if record in held_out]
