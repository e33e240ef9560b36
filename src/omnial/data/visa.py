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

# What a table names may be no possible file name; the methods of Path raise for some of these.
from os.path import isdir
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from omnial.data.records import ProductClass
from omnial.data.table_rows import Row, class_from_rows
from omnial.errors import UserError

_ANNOTATIONS = "image_anno.csv"
_SPLIT_FILE = Path("split_csv") / "1cls.csv"


class _Table(NamedTuple):
    """A CSV file, and its rows by columns in lower case."""

    path: Path
    rows: list[Row]


def _root_table(root: Path) -> _Table | None:
    """The table of a whole VisA root; None where the folder is none."""
    if (root / _SPLIT_FILE).is_file():
        return _read_csv(root / _SPLIT_FILE, "object", "split", "image", "label")
    if not (root / _ANNOTATIONS).is_file():
        return None
    table = _read_csv(root / _ANNOTATIONS, "image", "label")
    names = _names(table)
    # One class's own table may name its object as well.
    is_root = len(names) > 1 or any(isdir(root / name) for name in names)
    return table if is_root else None


def read_root(root: Path) -> list[ProductClass]:
    """Read the classes of a root's table; none where the root has no table.

    A class of the 1-class split file without a folder is left out, so that a part of VisA can
    be used with the whole split file.
    """
    table = _root_table(root)
    if table is None:
        return []
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
    path = folder / _ANNOTATIONS
    rows = _read_csv(path, "image", "label").rows
    return class_from_rows(path, rows, folder.name, folder, (folder.parent, folder), "VisA")


def _table_above(folder: Path) -> _Table | None:
    table = _root_table(folder.parent)
    return table if table is not None and folder.name in _names(table) else None


def _read_member(root: Path, table: _Table, name: str) -> ProductClass:
    rows = [row for row in table.rows if row.get("object") == name]
    folder = root / name if isdir(root / name) else root
    return class_from_rows(table.path, rows, name, folder, (root,), "VisA")


def _names(table: _Table) -> list[str]:
    """Names of the classes in a table, sorted; none without a column for them."""
    rows = [row for row in table.rows if "object" in row.cells]
    for row in rows:
        name = row.get("object")
        if not name or name != PurePosixPath(name).name or name.startswith("."):
            raise row.error(f"{name!r} cannot be the name of a class; fill in the cell object")
    return sorted({row.get("object") for row in rows})


def _read_csv(path: Path, *wanted: str) -> _Table:
    """Read a comma-separated UTF-8 file with these columns, without empty lines and outer space."""
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
    if missing := ", ".join(column for column in wanted if column not in columns):
        raise UserError(f"{path} lacks the columns {missing}; it has {', '.join(columns)}")
    rows = []
    for line, cells in lines[1:]:
        row = Row(f"{path}, line {line}", dict(zip(columns, cells, strict=False)))
        if len(cells) != len(columns):
            raise row.error(f"{len(cells)} cells where the header has {len(columns)}")
        rows.append(row)
    return _Table(path, rows)
