"""The files that list results: rows as JSON, a table for people, outlines for other tools."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from omnial._version import __version__
from omnial.files import PART, replacing
from omnial.inference.predictor import PREDICTIONS_FILE, Result, Row

TABLE_FILE: Final = "results.csv"
COCO_FILE: Final = "coco.json"
_HEADINGS: Final = (
    *("image", "product", "score", "threshold", "verdict", "defects", "largest_defect"),
    *("width", "height", "overlay", "mask", "error"),
)
TIMED: Final = "time,"
"""What the table of a watch begins with."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class ResultFiles:
    """`predictions.jsonl` and `results.csv` in a folder, written row by row.

    Each row is on its way to the disk before the next one, so that a run which is killed leaves
    what it did. With `append`, the files have their names from the first row on, and grow by what
    later runs add; else they are drafts, `NAME.part`, until `finish`.
    """

    def __init__(self, folder: Path, *, append: bool = False) -> None:
        self._folder, self._ending = folder, "" if append else PART
        rows, table = (folder / (name + self._ending) for name in (PREDICTIONS_FILE, TABLE_FILE))
        mode = "a" if append else "w"
        if append:
            _end_line(rows)
            _end_line(table)
        self._rows = rows.open(mode, encoding="utf-8")
        try:
            # Bytes of a file's name that are no text become escapes, as in JSON.
            self._table = table.open(mode, encoding="utf-8", errors="backslashreplace", newline="")
        except OSError:
            self._rows.close()
            raise
        if self._table.tell() == 0:
            self._write_line(("time", *_HEADINGS) if append else _HEADINGS)
            self._table.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._table.close()

    @property
    def rows(self) -> Path:
        """The file of the rows."""
        return self._folder / (PREDICTIONS_FILE + self._ending)

    def add(self, result: Result) -> None:
        """Write a row to both."""
        self._rows.write(json.dumps(result.row, allow_nan=False) + "\n")
        self._rows.flush()
        self._write_line(_cells(result))
        self._table.flush()

    def _write_line(self, cells: Sequence[object]) -> None:
        csv.writer(self._table).writerow(cells)

    def finish(self) -> None:
        """Give the drafts their names, the rows last: where they are, everything else is."""
        for file, name in ((self._table, TABLE_FILE), (self._rows, PREDICTIONS_FILE)):
            os.fsync(file.fileno())
            file.close()
            os.replace(self._folder / (name + PART), self._folder / name)


class CocoOutlines:
    """What `coco.json` holds: outlines in the layout of COCO's instance annotations.

    For tools that label and train. Every outline is of the one category `defect`. Coordinates are
    COCO's: (0, 0) is the upper left corner of an image, not the centre of its first pixel.
    """

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, result: Result) -> None:
        """Add an image, a good one without outlines; one that cannot be read is left out."""
        if result.size is None:
            return
        height, width = result.size
        image = {"id": len(self._images) + 1, "file_name": result.row["path"]}
        more = {"product": result.row["class"], "score": result.row["score"]}
        self._images.append({**image, "width": width, "height": height, **more})
        outlines: Any = result.row["outlines"]
        for outline in outlines:
            points = [(round(x + 0.5, 2), round(y + 0.5, 2)) for x, y in outline["polygon"]]
            across, down = zip(*points, strict=True)
            box = (min(across), min(down), max(across) - min(across), max(down) - min(down))
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "segmentation": [[number for point in points for number in point]],
                    "area": outline["area"],
                    "bbox": [round(number, 2) for number in box],
                    "iscrowd": 0,
                    "score": outline["peak"],
                }
            )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        document = {
            "info": {"description": f"Outlines by omnial {__version__}"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": 1, "name": "defect"}],
        }
        with replacing(path) as part:
            part.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")


def _cells(result: Result) -> list[object]:
    row: Any = result.row
    (height, width), areas = result.size or ("", ""), [one["area"] for one in row["outlines"]]
    verdict = "anomalous" if row["anomalous"] else "good"
    scores = [row["score"], row["threshold"]]
    return [
        *([row["time"]] if "time" in row else []),
        *(harmless(row["path"]), harmless(row["class"])),
        *("" if number is None else f"{number:.6f}" for number in scores),
        *("not readable" if row["error"] else verdict, len(areas), max(areas, default=0)),
        *(width, height, result.overlay, result.mask, harmless(row["error"])),
    ]


def harmless(text: str | None) -> str:
    """A text for a table, with an apostrophe where a spreadsheet would take it for a formula.

    OWASP, "CSV Injection"; nothing for None.
    """
    return f"'{text}" if text and text.lstrip(" ").startswith(_FORMULA) else text or ""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that may end in the middle of one; none where there is no file."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError):
                    yield json.loads(line)


def _end_line(path: Path) -> None:
    """End the last line of a file, which a kill or a full disk may have cut."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
