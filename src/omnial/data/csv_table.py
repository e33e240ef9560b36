"""Reading a CSV file strictly, with line numbers for messages."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from omnial.errors import UserError


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    table: Path
    line: int
    cells: dict[str, str]

    def get(self, column: str) -> str:
        """The stripped cell of a column; empty where the table has no such column."""
        return self.cells.get(column, "")

    def error(self, message: str) -> UserError:
        """An error that names the file and the line."""
        return UserError(f"{self.table}, line {self.line}: {message}")


@dataclass(frozen=True)
class CsvTable:
    """A table: its file, its columns in lower case, and its rows."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_csv(path: Path) -> CsvTable:
    """Read a comma-separated UTF-8 file whose first line names the columns.

    Empty lines are passed over, and space around cells is dropped.

    Raises:
        UserError: the file is unreadable or empty, names a column twice, or has a line of another
            number of cells.
    """
    lines: list[tuple[int, list[str]]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    lines.append((reader.line_num, [cell.strip() for cell in cells]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV file in UTF-8 ({error})") from error
    if not lines:
        raise UserError(f"{path} is empty; it needs a header and a line for each image")
    columns = tuple(cell.lower() for cell in lines[0][1])
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"{path} names the columns {', '.join(twice)} more than once")
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells where the header has {len(columns)}"
            )
    rows = tuple(
        Row(path, line, dict(zip(columns, cells, strict=True))) for line, cells in lines[1:]
    )
    return CsvTable(path, columns, rows)
