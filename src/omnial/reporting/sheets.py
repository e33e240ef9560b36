"""Contact sheets of synthesized samples: what a model learns from, for people to look at.

A sheet is a PNG page with one sample a row: the normal image, the anomalous image, the mask that
the model is taught, the JND map, the panel and the defect levels.
"""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from omnial.data.own_pictures import mark_own
from omnial.errors import UserError, shown
from omnial.files import replacing, writing

COLUMNS = ("normal", "anomalous", "mask", "JND map", "panel", "level")
"""Headings of the columns."""

LEVEL_COLOURS = ((24, 26, 30), (253, 231, 37), (33, 165, 133), (92, 74, 170))
"""RGB of level 0 (none), 1 (easy), 2 (medium) and 3 (hard): bright where a defect is plain."""

_LEVEL_NAMES = ("none", "easy", "medium", "hard")
_INK, _SOFT, _PAPER = (23, 32, 42), (80, 92, 105), (255, 255, 255)
_MARGIN, _GAP, _LABEL, _HEAD = 16, 8, 24, 34
_DIMMED = 0.25

Values: TypeAlias = torch.Tensor | NDArray[np.generic]
"""A tensor on any device, or an array."""


class Samples(Protocol):
    """What a sheet shows: `omnial.synthesis.SynthesizedBatch`, or the same fields as arrays."""

    @property
    def normal(self) -> Values:
        """(B, 3, H, W) in [0, 1]."""

    @property
    def anomalous(self) -> Values:
        """(B, 3, H, W) in [0, 1]."""

    @property
    def mask(self) -> Values:
        """(B, 1, H, W), 0 or 1."""

    @property
    def jnd(self) -> Values:
        """(B, 1, H, W) in [0, 1]."""

    @property
    def panel(self) -> Values:
        """(B, 1, H, W), 0 or 1."""

    @property
    def level(self) -> Values:
        """(B, 1, H, W), 0..3: the strongest level drawn at each pixel."""


def write_contact_sheets(
    batch: Samples,
    names: Sequence[str],
    out_dir: Path,
    *,
    rows: int = 8,
    cell_height: int = 176,
) -> list[Path]:
    """Write the samples as pages `samples_001.png`, `samples_002.png`, ...

    Further pages of an earlier run are removed.

    Args:
        batch: The samples.
        names: A label for each sample, such as its class; B of them.
        out_dir: The folder, made if it is missing.
        rows: Samples a page.
        cell_height: Pixels of each picture's height; the width keeps the shape.

    Returns:
        The pages, in order.

    Raises:
        ValueError: Not one name a sample.
        UserError: `out_dir` is a file.
        RunError: A page cannot be written.
    """
    fields = [_array(field) for field in (batch.normal, batch.anomalous)]
    maps = [_array(field)[:, 0] for field in (batch.mask, batch.jnd, batch.panel, batch.level)]
    count = len(fields[0])
    if len(names) != count:
        raise ValueError(f"{count} samples and {len(names)} names")
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir} is a file, and the sheets need a folder: give another --out")
    starts = range(0, count, rows)
    pages = [_page(out_dir, number) for number in range(1, len(starts) + 1)]
    with writing("The sheets", out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        mark_own(out_dir, [path.name for path in pages])
    for path, start in zip(pages, starts, strict=True):
        page = [
            (f"{i + 1}  {shown(names[i])}  {_share(maps[0][i])}", _cells(fields, maps, i))
            for i in range(start, min(start + rows, count))
        ]
        _save(_draw(page, cell_height), path)
    stale = len(pages) + 1
    with writing("The sheets", out_dir):
        while _page(out_dir, stale).exists():
            _page(out_dir, stale).unlink()
            stale += 1
    return pages


def _page(out_dir: Path, number: int) -> Path:
    return out_dir / f"samples_{number:03d}.png"


def level_picture(level: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Colour a level map.

    Args:
        level: (H, W), 0..3.

    Returns:
        (H, W, 3) uint8 RGB in `LEVEL_COLOURS`.
    """
    colours: NDArray[np.uint8] = np.array(LEVEL_COLOURS, dtype=np.uint8)
    picture: NDArray[np.uint8] = colours[level]
    return picture


def _array(values: Values) -> NDArray[np.float32]:
    """The values as a float32 array on the host."""
    if isinstance(values, torch.Tensor):
        return values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float32)


def _share(mask: NDArray[np.float32]) -> str:
    """How much of an image the mask covers, in words."""
    covered = 100 * float((mask > 0.5).mean())
    return f"{covered:.1f} % labelled" if covered else "no anomaly"


def _cells(
    images: Sequence[NDArray[np.float32]], maps: Sequence[NDArray[np.float32]], index: int
) -> list[NDArray[np.uint8]]:
    """The pictures of one sample, each (H, W, 3) uint8, in the order of `COLUMNS`."""
    normal, anomalous = (_bytes(image[index].transpose(1, 2, 0)) for image in images)
    mask, jnd, panel, level = (values[index] for values in maps)
    # The panel is shown as the part of the image that stays bright.
    lit = np.where(panel[..., None] > 0.5, 1.0, _DIMMED) * normal
    return [
        normal,
        anomalous,
        _bytes(np.repeat(mask[..., None], 3, axis=2)),
        _bytes(np.repeat(jnd[..., None], 3, axis=2)),
        np.rint(lit).astype(np.uint8),
        level_picture(level.astype(np.intp)),
    ]


def _bytes(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values in [0, 1] as bytes."""
    scaled: NDArray[np.float32] = np.clip(unit, 0.0, 1.0) * np.float32(255)
    return np.rint(scaled).astype(np.uint8)


def _draw(page: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], cell_height: int) -> Image.Image:
    """Lay out one page."""
    height, width = page[0][1][0].shape[:2]
    cell_width = max(1, round(cell_height * width / height))
    step = cell_height + _LABEL + _GAP
    sheet = Image.new(
        "RGB",
        (
            2 * _MARGIN + len(COLUMNS) * cell_width + (len(COLUMNS) - 1) * _GAP,
            2 * _MARGIN + 2 * _HEAD + len(page) * step,
        ),
        _PAPER,
    )
    pen, text = ImageDraw.Draw(sheet), _font("DejaVuSans.ttf", 14)
    bold = _font("DejaVuSans-Bold.ttf", 15)
    for column, heading in enumerate(COLUMNS):
        left = _MARGIN + column * (cell_width + _GAP)
        pen.text((left + cell_width / 2, _MARGIN + 4), heading, _INK, bold, anchor="ma")
    for row, (label, cells) in enumerate(page):
        top = _MARGIN + _HEAD + row * step
        pen.text((_MARGIN, top + 3), _fitted(label, text, sheet.width - 2 * _MARGIN), _SOFT, text)
        for column, cell in enumerate(cells):
            # Maps are enlarged without invented values in between.
            smooth = COLUMNS[column] in ("normal", "anomalous", "panel")
            method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
            picture = Image.fromarray(cell).resize((cell_width, cell_height), method)
            sheet.paste(picture, (_MARGIN + column * (cell_width + _GAP), top + _LABEL))
    _draw_key(pen, sheet.height - _MARGIN - _HEAD / 2, text)
    return sheet


def _draw_key(pen: ImageDraw.ImageDraw, middle: float, font: ImageFont.FreeTypeFont) -> None:
    """Draw what the colours of the level map mean, and what a dimmed image is."""
    left = float(_MARGIN)
    for name, colour in zip(_LEVEL_NAMES, LEVEL_COLOURS, strict=True):
        pen.rectangle((left, middle - 7, left + 14, middle + 7), colour, _SOFT)
        pen.text((left + 20, middle), name, _INK, font, anchor="lm")
        left += 20 + font.getlength(name) + 18
    words = "level of the defect; outside of the panel the image is dimmed"
    pen.text((left, middle), words, _SOFT, font, anchor="lm")


def _fitted(label: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A label that is at most this many pixels wide, cut in the middle where it is longer."""
    if font.getlength(label) <= width:
        return label

    def cut(kept: int) -> str:
        return f"{label[: kept // 2]}\N{HORIZONTAL ELLIPSIS}{label[len(label) - (kept + 1) // 2 :]}"

    first_too_wide = bisect_left(
        range(len(label)), True, key=lambda kept: font.getlength(cut(kept)) > width
    )
    return cut(max(0, first_too_wide - 1))


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib and knows most alphabets."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def _save(sheet: Image.Image, path: Path) -> None:
    """Write a page in one step: a reader never meets half of it."""
    with writing("The sheet", path), replacing(path) as part:
        sheet.save(part, "PNG")
