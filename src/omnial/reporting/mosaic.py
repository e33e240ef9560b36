"""Rows of labelled pictures on one sheet: the two figures of the robustness report."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from omnial.errors import shown

_INK, _PAPER, _EMPTY = (23, 32, 42), (255, 255, 255), (238, 241, 244)
_GAP, _HEAD, _LABEL = 6, 40, 18


def mosaic(
    headings: Sequence[str],
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8] | None]]],
    cell_height: int = 112,
) -> NDArray[np.uint8]:
    """Lay pictures out in rows.

    Args:
        headings: A heading for each column.
        rows: A label and a picture for each column, (H, W, 3) uint8 RGB of one shape; None
            leaves a cell empty.
        cell_height: Pixels of a cell's height; its width keeps the shape.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: A row has not one picture a column, or there is none at all.
    """
    if any(len(cells) != len(headings) for _, cells in rows):
        raise ValueError(f"every row needs {len(headings)} pictures")
    some = next((cell for _, cells in rows for cell in cells if cell is not None), None)
    if some is None:
        raise ValueError("there is no picture to lay out")
    cell_width = max(1, round(cell_height * some.shape[1] / some.shape[0]))
    step = cell_height + _LABEL + _GAP
    width = _GAP + len(headings) * (cell_width + _GAP)
    sheet = Image.new("RGB", (width, _HEAD + len(rows) * step + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), _font("DejaVuSans.ttf", 11)
    bold = _font("DejaVuSans-Bold.ttf", 11)
    for column, heading in enumerate(headings):
        left = _GAP + column * (cell_width + _GAP)
        words = _wrapped(heading, bold, cell_width)
        pen.multiline_text((left + cell_width / 2, 4), words, _INK, bold, "ma", align="center")
    for row, (label, cells) in enumerate(rows):
        top = _HEAD + row * step
        pen.text((_GAP, top + 2), shown(label), _INK, font)
        for column, cell in enumerate(cells):
            place = (_GAP + column * (cell_width + _GAP), top + _LABEL)
            if cell is None:
                corner = (place[0] + cell_width - 1, place[1] + cell_height - 1)
                pen.rectangle((*place, *corner), _EMPTY)
            else:
                picture = Image.fromarray(np.ascontiguousarray(cell))
                size = (cell_width, cell_height)
                sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), place)
    return np.asarray(sheet)


def _wrapped(heading: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A heading on at most three lines, cut where it is longer."""
    lines = [""]
    for word in shown(heading).split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    cut = []
    for line in lines[:3]:
        while len(line) > 1 and font.getlength(line) > width:
            line = line[:-1]
        cut.append(line)
    return "\n".join(cut)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib and knows most alphabets."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)
