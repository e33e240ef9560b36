"""The VisA layout, in which a table says what an image is.

    root/split_csv/1cls.csv        columns object, split, label, image, mask (the 1-class split)
    root/image_anno.csv            the same columns; split may be missing
    root/<class>/image_anno.csv    columns image, label, mask; split may be there

Paths in a table are relative to the root; in a class's own table they may also be relative to the
class's folder. Where no split is given, the first 90 % of the normal images by name are for
training [O], as in VisA's 1-class split; everything else is for testing.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

# What a table names may be no possible file name; the methods of Path raise for some of these.
from os.path import isdir, isfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from omnial.data.listing import find_roi, listed
from omnial.data.names import is_good, is_unclear_kind
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.errors import UserError

_ANNOTATIONS = "image_anno.csv"
_SPLIT_FILE = Path("split_csv") / "1cls.csv"
_TRAIN_PERCENT = 90
_LONGEST_LABEL = 200
"""Labels become parts of file names."""


class _Row(NamedTuple):
    table: Path
    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        """The cell of a column; empty where the table has no such column."""
        return self.cells.get(column, "")

    def error(self, message: str) -> UserError:
        return UserError(f"{self.table}, line {self.line}: {message}")


class Table(NamedTuple):
    """A CSV file, its columns in lower case, and its rows."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]


def root_table(root: Path) -> Table | None:
    """The table of a whole VisA root; None where the folder is none."""
    if (root / _SPLIT_FILE).is_file():
        table = _read_csv(root / _SPLIT_FILE)
        _require_columns(table, "object", "split", "image", "label")
        return table
    if not (root / _ANNOTATIONS).is_file():
        return None
    table = _read_csv(root / _ANNOTATIONS)
    names = _names(table)
    # One class's own table may name its object as well.
    is_root = len(names) > 1 or any(isdir(root / name) for name in names)
    return table if is_root else None


def read_root(root: Path, table: Table) -> list[ProductClass]:
    """Read the classes of a root's table.

    A class of the 1-class split file without a folder is left out, so that a part of VisA can
    be used with the whole split file.
    """
    partial = table.path == root / _SPLIT_FILE
    names = [name for name in _names(table) if not partial or isdir(root / name)]
    return [_read_member(root, table, name) for name in names]


def is_class(folder: Path) -> bool:
    """Whether a table describes the folder as one class: the root's above it, or its own."""
    return _table_above(folder) is not None or (folder / _ANNOTATIONS).is_file()


def read_class(folder: Path) -> ProductClass:
    """Read one class's folder, for which `is_class` holds."""
    table = _table_above(folder)
    if table is not None:
        return _read_member(folder.parent, table, folder.name)
    own = _read_csv(folder / _ANNOTATIONS)
    return _product(own, own.rows, folder.name, folder, bases=(folder.parent, folder))


def _table_above(folder: Path) -> Table | None:
    table = root_table(folder.parent)
    return table if table is not None and folder.name in _names(table) else None


def _read_member(root: Path, table: Table, name: str) -> ProductClass:
    rows = tuple(row for row in table.rows if row.get("object") == name)
    folder = root / name if isdir(root / name) else root
    return _product(table, rows, name, folder, bases=(root,))


def _require_columns(table: Table, *wanted: str) -> None:
    if missing := ", ".join(column for column in wanted if column not in table.columns):
        has = ", ".join(table.columns)
        raise UserError(f"{table.path} lacks the columns {missing}; it has {has}")


def _names(table: Table) -> list[str]:
    """Names of the classes in a table, sorted; none without a column for them."""
    if "object" not in table.columns:
        return []
    for row in table.rows:
        name = row.get("object")
        if not name or name != PurePosixPath(name).name or name.startswith("."):
            raise row.error(f"{name!r} cannot be the name of a class; fill in the cell object")
    return sorted({row.get("object") for row in table.rows})


def _product(
    table: Table, rows: tuple[_Row, ...], name: str, folder: Path, bases: tuple[Path, ...]
) -> ProductClass:
    _require_columns(table, "image", "label")
    found = [_record(row, name, bases) for row in rows]
    records = sorted((record for _, record in found), key=lambda one: (one.kind, one.path))
    paths = [path for one in records for path in (one.path, one.mask) if path is not None]
    if missing := [path for path in paths if not isfile(path)]:
        raise UserError(
            f"{table.path} names files that do not exist; add them, or remove their lines:\n"
            f"{listed(missing)}"
        )
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise UserError(f"{table.path} names these files more than once:\n{listed(twice)}")
    left_open = sorted(one.path for split, one in found if not split and not one.anomalous)
    chosen = {one.path for split, one in found if split == "train"}
    chosen.update(left_open[: len(left_open) * _TRAIN_PERCENT // 100])
    train = tuple(replace(one, split="train") for one in records if one.path in chosen)
    test = tuple(one for one in records if one.path not in chosen)
    return ProductClass(name, folder, train, test, find_roi(folder))


def _record(row: _Row, name: str, bases: tuple[Path, ...]) -> tuple[str, ImageRecord]:
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


def _located(row: _Row, text: str, bases: tuple[Path, ...]) -> Path:
    """Find a file that a table names, below one of the folders that its paths start from."""
    relative = PurePosixPath(text.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts:
        raise row.error(f"{text} must be a path below the data set's root")
    candidates = [base / relative for base in bases]
    return next((path for path in candidates if isfile(path)), candidates[0])


def _read_csv(path: Path) -> Table:
    """Read a comma-separated UTF-8 file; empty lines and space around cells are dropped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV file in UTF-8 ({error})") from error
    lines = [(line, cells) for line, cells in lines if any(cells)]
    if not lines:
        raise UserError(f"{path} is empty; it needs a header and a line for each image")
    columns = tuple(cell.lower() for cell in lines[0][1])
    if twice := [column for column, count in Counter(columns).items() if count > 1]:
        raise UserError(f"{path} names the columns {', '.join(twice)} more than once")
    rows = []
    for line, cells in lines[1:]:
        row = _Row(path, line, dict(zip(columns, cells, strict=False)))
        if len(cells) != len(columns):
            raise row.error(f"{len(cells)} cells where the header has {len(columns)}")
        rows.append(row)
    return Table(path, columns, tuple(rows))
