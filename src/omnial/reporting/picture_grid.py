"""Pictures in labelled rows on one sheet: galleries of results, samples of the training."""

from collections.abc import Collection, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from omnial.data.listing import mark_own
from omnial.errors import shown
from omnial.evaluation.result import picture
from omnial.files import locked, replacing, writing
from omnial.synthesis.recipe import SynthesizedBatch

LEVEL_COLOURS = ((24, 26, 30), (253, 231, 37), (33, 165, 133), (92, 74, 170))
"""RGB of level 0 (none), 1 (easy), 2 (medium) and 3 (hard): bright where a defect is plain."""

_COLUMNS: Final = ("normal", "anomalous", "mask", "JND map", "panel", "level")
_FOOT: Final = (
    "level: black none, yellow easy, green medium, violet hard; "
    "outside of the panel the image is dimmed"
)
_DIMMED: Final = 0.25
_INK, _SOFT, _PAPER, _EMPTY = (23, 32, 42), (80, 92, 105), (255, 255, 255), (238, 241, 244)
_LONGEST: Final = 300
"""Characters of a label that are looked at."""


def picture_grid(
    headings: Sequence[str],
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8] | None]]],
    cell_height: int = 112,
    *,
    sharp: Collection[str] = (),
    foot: str = "",
) -> Image.Image:
    """Lay pictures out in rows, each below its label; `foot` is a line below all rows.

    A row has a picture for each column, (H, W, 3) uint8 RGB of one shape; None leaves a cell empty,
    but not all of them.
    A cell's width keeps the shape. Pictures under the headings in `sharp` are maps: enlarged
    without values in between.
    """
    some = next(cell for _, cells in rows for cell in cells if cell is not None)
    width = max(1, round(cell_height * some.shape[1] / some.shape[0]))
    size = max(11, cell_height // 12)
    gap, line = size // 2 + 1, size + 7
    text, bold = (_font(name, size) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"))
    heads = [_wrapped(heading, bold, width) for heading in headings]
    top = gap + line * max(head.count("\n") + 1 for head in heads)
    step = line + cell_height + gap
    lefts = [gap + column * (width + gap) for column in range(len(headings))]
    whole = (lefts[-1] + width + gap, top + len(rows) * step + (line if foot else 0))
    sheet = Image.new("RGB", whole, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for left, head in zip(lefts, heads, strict=True):
        pen.multiline_text((left + width / 2, gap), head, _INK, bold, "ma", align="center")
    for label, cells in rows:
        pen.text((gap, top + 3), _fitted(label, text, sheet.width - 2 * gap), _SOFT, text)
        for left, heading, cell in zip(lefts, headings, cells, strict=True):
            box = (left, top + line, left + width, top + line + cell_height)
            if cell is None:
                sheet.paste(_EMPTY, box)
                continue
            method = Image.Resampling.NEAREST if heading in sharp else Image.Resampling.LANCZOS
            drawn = Image.fromarray(np.ascontiguousarray(cell))
            sheet.paste(drawn.resize((width, cell_height), method), box)
        top += step
    pen.text((gap, top + 3), _fitted(foot, text, sheet.width - 2 * gap), _SOFT, text)
    return sheet


def write_contact_sheets(
    batch: SynthesizedBatch,
    names: Sequence[str],
    out_dir: Path,
    *,
    rows: int = 8,
    cell_height: int = 176,
) -> list[Path]:
    """Write what a model learns from as pages `samples_001.png`, ..., one sample a row.

    A row shows the normal image, the anomalous image, the mask that the model is taught, the JND
    map, the panel and the defect levels. Further pages of an earlier run are removed. `names` are
    labels of the samples, `rows` is how many of them a page has, `cell_height` is in pixels. The
    result is the pages, in order.

    Raises:
        UserError: `out_dir` is a file, or in use.
        RunError: A page cannot be written.
    """
    samples = len(batch.normal)
    starts = range(0, samples, rows)
    pages = [_page(out_dir, number) for number in range(1, len(starts) + 1)]
    with locked(out_dir), writing("The sheets", out_dir):
        mark_own(out_dir, [path.name for path in pages])
        for path, start in zip(pages, starts, strict=True):
            own = range(start, min(start + rows, samples))
            lines = [(_label(batch, i, names[i]), _cells(batch, i)) for i in own]
            maps = {"mask", "JND map", "level"}
            sheet = picture_grid(_COLUMNS, lines, cell_height, sharp=maps, foot=_FOOT)
            with replacing(path) as part:
                sheet.save(part, "PNG")
        later = (_page(out_dir, number) for number in count(len(pages) + 1))
        for stale in takewhile(Path.exists, later):
            stale.unlink()
    return pages


def _page(out_dir: Path, number: int) -> Path:
    return out_dir / f"samples_{number:03d}.png"


def _label(batch: SynthesizedBatch, index: int, name: str) -> str:
    covered = 100 * float((batch.mask[index] > 0.5).float().mean())
    share = f"{covered:.1f} % labelled" if covered else "no anomaly"
    return f"{index + 1}  {share}  {name}"


def _cells(batch: SynthesizedBatch, index: int) -> list[NDArray[np.uint8]]:
    """The pictures of one sample, each (H, W, 3) uint8, in the order of `_COLUMNS`."""
    normal, panel = batch.normal[index], batch.panel[index]
    lit = normal * (panel > 0.5).to(normal).clamp(min=_DIMMED)
    levels = batch.level[index, 0].long().cpu().numpy()
    images = (normal, batch.anomalous[index], batch.mask[index], batch.jnd[index], lit)
    pixels = [image.detach().float().cpu().expand(3, -1, -1).numpy() for image in images]
    return [*map(picture, pixels), np.array(LEVEL_COLOURS, np.uint8)[levels]]


def _wrapped(heading: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    lines = [""]
    for word in shown(heading)[:_LONGEST].split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(_fitted(line, font, width) for line in lines[:3])


def _fitted(label: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    label = shown(label)[:_LONGEST]
    while len(label) > 1 and font.getlength(label) > width:
        label = label.removesuffix("\N{HORIZONTAL ELLIPSIS}")[:-1] + "\N{HORIZONTAL ELLIPSIS}"
    return label


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)
