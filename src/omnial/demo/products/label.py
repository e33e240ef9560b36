"""A printed carton label: band, badge, text, bar code and an ink-jet code."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from omnial.demo.canvas import (
    Canvas,
    Field,
    Point,
    box,
    cloud,
    polyline,
    sample,
    smooth,
    walk,
)
from omnial.demo.defects import Defect, stain
from omnial.demo.surface import Colour, Surface, varied

KINDS = ("crease", "misprint", "stain")

_ARTWORK = 512
_INKS: tuple[Colour, ...] = ((20, 92, 140), (206, 66, 44), (32, 32, 36))
_PRINTED: tuple[Point, ...] = (
    (-0.3, -0.65),
    (0.57, -0.13),
    (-0.4, -0.2),
    (-0.4, 0.45),
    (0.5, 0.45),
)
_BARS = "31121132112311213211123112121313211211"


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect | None) -> Surface:
    """Draw the label; every draw from `rng` happens with and without the defect."""
    surface = Surface.plain(canvas, varied(rng, (236, 231, 218), 0.015), 0.04)
    surface.mottle(cloud(canvas, rng, 45.0, 2), 0.022)
    surface.height += 0.0012 * cloud(canvas, rng, 60.0, 2)
    paper = canvas.posed(rng, turn=0.03, shift=0.025, zoom=0.015)
    fault = None
    if defect is not None and defect.kind == "misprint":
        fault = _Misprint.draw(defect)
    for plate, ink in zip(_plates(), _INKS, strict=True):
        sheet = paper.moved((rng.normal(0.0, 0.003), rng.normal(0.0, 0.003)), 0.0)
        inked = sample(plate, sheet) if fault is None else fault.print(plate, sheet)
        density = np.float32(rng.uniform(0.88, 0.96)) + 0.035 * cloud(canvas, rng, 30.0, 2)
        surface.paint(np.clip(inked * density, 0.0, 1.0), varied(rng, ink, 0.03))

    if defect is not None and defect.kind == "stain":
        stain(surface, paper, defect, 0.6, (170, 120, 74), 0.24)
    elif defect is not None and defect.kind == "crease":
        _crease(surface, paper, defect)
    return surface


@dataclass(frozen=True)
class _Misprint:
    """A fault of the press within a window of the sheet.

    Attributes:
        form: `void` (no ink), `ghost` (printed twice), `smear` (dragged ink), `shift`.
        centre: Centre of the window.
        half: Half width and height of the window.
        offset: How far the second print, the drag or the shift goes.
        strength: Share of the ink concerned.
    """

    form: str
    centre: Point
    half: Point
    offset: Point
    strength: float

    @classmethod
    def draw(cls, defect: Defect) -> "_Misprint":
        rng = defect.rng
        form = str(rng.choice(["void", "ghost", "smear", "shift"]))
        x, y = _PRINTED[int(rng.integers(len(_PRINTED)))]
        angle = rng.uniform(0.0, 2.0 * np.pi)
        far = defect.between(0.04, 0.065) * (3.0 if form == "smear" else 1.0)
        return cls(
            form,
            (x + rng.uniform(-0.1, 0.1), y + rng.uniform(-0.03, 0.03)),
            (defect.between(0.2, 0.42), defect.between(0.11, 0.17)),
            (far * float(np.cos(angle)), 0.7 * far * float(np.sin(angle))),
            defect.between(0.75, 1.0),
        )

    def print(self, plate: Field, sheet: Canvas) -> Field:
        """The plate's ink with the fault in it."""
        good = sample(plate, sheet)
        if self.form == "void":
            faulty = np.zeros_like(good)
        elif self.form == "smear":
            drags = (
                sample(plate, sheet.moved((t * self.offset[0], t * self.offset[1]), 0.0)) * (1 - t)
                for t in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
            )
            faulty = np.maximum.reduce([good, *drags])
        else:
            moved = sample(plate, sheet.moved(self.offset, 0.0))
            faulty = moved if self.form == "shift" else np.maximum(good, 0.75 * moved)
        window = sheet.cover(box(sheet, self.centre, self.half, 0.03), soft=0.02)
        return good + (faulty - good) * window * np.float32(self.strength)


@cache
def _plates() -> tuple[Field, ...]:
    """Coverage of each ink, drawn at twice the size and reduced; they span [-1, 1]."""
    return tuple(_plate(ink) for ink in range(len(_INKS)))


def _plate(ink: int) -> Field:
    size = 2 * _ARTWORK
    sheet = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(sheet)

    def at(*values: float) -> list[float]:
        return [(v + 1.0) * size / 2.0 for v in values]

    def text(x: float, y: float, height: float, words: str, fill: int = 255) -> None:
        font = ImageFont.load_default(height * size / 2.0)
        left, top = at(x, y)
        pen.text((left, top), words, fill=fill, font=font)

    if ink == 0:
        pen.rectangle(at(-0.84, -0.84, 0.84, -0.46), fill=255)
        text(-0.74, -0.83, 0.32, "NORDLYS", fill=0)
        pen.rectangle(at(-0.84, 0.8, 0.84, 0.84), fill=255)
    elif ink == 1:
        pen.ellipse(at(0.34, -0.36, 0.8, 0.1), fill=255)
        text(0.44, -0.29, 0.28, "24", fill=0)
        pen.rectangle(at(-0.84, -0.42, 0.2, -0.39), fill=255)
    else:
        text(-0.84, -0.34, 0.2, "Mixed herbs")
        for line, words in enumerate(("camomile 40 %  fennel 25 %", "lemon balm 20 %  mint 15 %")):
            text(-0.84, -0.07 + 0.12 * line, 0.095, words)
        x = -0.84
        for number, width in enumerate(_BARS):
            step = 0.0125 * int(width)
            if number % 2 == 0:
                pen.rectangle(at(x, 0.28, x + step, 0.66), fill=255)
            x += step
        text(-0.76, 0.665, 0.085, "4 012700 318846")
        for line, words in enumerate(("L 7A0419", "BEST 11.28")):
            text(0.22, 0.34 + 0.16 * line, 0.115, words)
    pixels = np.asarray(sheet, np.float32) / np.float32(255.0)
    reduced: Field = pixels.reshape(_ARTWORK, 2, _ARTWORK, 2).mean(axis=(1, 3))
    reduced.flags.writeable = False
    return reduced


def _crease(surface: Surface, paper: Canvas, defect: Defect) -> None:
    """A fold across the carton: a ridge that shades, and ink and fibre broken along it."""
    rng = defect.rng
    heading, length = rng.uniform(0.0, 2.0 * np.pi), defect.between(0.6, 1.3)
    x, y = defect.place(0.45)
    start = (x - 0.5 * length * float(np.cos(heading)), y - 0.5 * length * float(np.sin(heading)))
    points = walk(rng, start, heading, length, 8, 0.06)
    distance = polyline(paper, points, [0.0] * len(points))
    surface.height += np.float32(defect.between(0.03, 0.06)) * np.exp(-distance / 0.034)
    flaked = smooth(0.02, 0.006, distance + 0.008 * cloud(paper, rng, 30.0, 2))
    surface.paint(flaked * np.float32(defect.between(0.6, 0.95)), (250, 248, 243), 0.0)
