"""Classes from tables that name every image: what a row may say, whatever file it stands in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

# What a table names may be no possible file name; the methods of Path raise for some of these.
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from omnial.data.listing import find_roi, listed
from omnial.data.names import is_good, is_unclear_kind
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.errors import UserError

_TRAIN_PERCENT = 90
_LONGEST_LABEL = 200
"""Labels become parts of file names."""


class Row(NamedTuple):
    """What a table says about one image, by the columns image, label, mask and split."""

    place: str
    """File and line, for messages."""
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        """The cell of a column; empty where the table has no such column."""
        return self.cells.get(column, "")

    def error(self, message: str) -> UserError:
        """An error that names the row."""
        return UserError(f"{self.place}: {message}")


def class_from_rows(
    table: Path, rows: Sequence[Row], name: str, folder: Path, bases: tuple[Path, ...], layout: str
) -> ProductClass:
    """A class from its rows in a table, whose paths are relative to one of the bases.

    Where no split is given, the first 90 % of the normal images by name are for training [O];
    everything else is for testing.

    Raises:
        UserError: A row says what cannot be; a file does not exist, or is named twice.
    """
    found = [_record(row, name, bases) for row in rows]
    records = sorted((record for _, record in found), key=lambda one: (one.kind, one.path))
    paths = [path for one in records for path in (one.path, one.mask) if path is not None]
    if missing := [path for path in paths if not isfile(path)]:
        raise UserError(
            f"{table} names files that do not exist; add them, or remove their lines:\n"
            f"{listed(missing)}"
        )
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise UserError(f"{table} names these files more than once:\n{listed(twice)}")
    left_open = sorted(one.path for split, one in found if not split and not one.anomalous)
    chosen = {one.path for split, one in found if split == "train"}
    chosen.update(left_open[: len(left_open) * _TRAIN_PERCENT // 100])
    train = tuple(replace(one, split="train") for one in records if one.path in chosen)
    test = tuple(one for one in records if one.path not in chosen)
    return ProductClass(name, folder, train, test, find_roi(folder), layout)


def _record(row: Row, name: str, bases: tuple[Path, ...]) -> tuple[str, ImageRecord]:
    """A row, checked: `train`, `test`, or nothing where it leaves that open, and its record."""
    split, label, mask = row.get("split").lower(), row.get("label"), row.get("mask")
    if not row.get("image") or not label:
        raise row.error("the cells image and label must be filled")
    if len(label) > _LONGEST_LABEL:
        raise row.error(f"a label has at most {_LONGEST_LABEL} characters")
    if split not in ("", "train", "test"):
        raise row.error(f"split is train or test, not {split!r}")
    if is_unclear_kind(label):
        raise row.error(
            f"the label {label!r} does not say whether the image is defect-free; write normal, or "
            "the kind of defect"
        )
    # VisA joins several kinds with commas. A slash would look like a folder in a file's name.
    parts = sorted({part.strip() for part in label.split(",")} - {""})
    kind = GOOD if is_good(label) else "+".join(parts).replace("/", "-")
    if kind != GOOD and split == "train":
        raise row.error("a defective image cannot be for training; set split to test")
    if kind == GOOD and mask:
        raise row.error("a normal image has a mask; correct its label, or drop the mask")
    image = _located(row, row.get("image"), bases)
    located = _located(row, mask, bases) if mask else None
    return split, ImageRecord(image, name, "test", kind, located)


def _located(row: Row, text: str, bases: tuple[Path, ...]) -> Path:
    """Find a file that a table names, below one of the folders that its paths start from."""
    relative = PurePosixPath(text.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts:
        raise row.error(f"{text} must be a path below the data set's root")
    candidates = [base / relative for base in bases]
    return next((path for path in candidates if isfile(path)), candidates[0])
