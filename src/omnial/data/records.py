"""What a data set is made of, whatever its layout on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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

    @property
    def files(self) -> list[Path]:
        """All files of the class: images, masks and the region of interest."""
        records = (*self.train, *self.test)
        masks = (record.mask for record in records)
        found = [record.path for record in records]
        return found + [path for path in (*masks, self.roi) if path is not None]


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
