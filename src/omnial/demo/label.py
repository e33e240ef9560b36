"""A printed carton label: band, badge, text, bar code and an ink-jet code."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from omnial.demo.canvas import TURN, Canvas, Field, Point, sample, smooth, walk
from omnial.demo.defects import Defect, stain
from omnial.demo.surface import Colour, Surface, varied

_ARTWORK = 512
_INKS: tuple[Colour, ...] = ((20, 92, 140), (206, 66, 44), (32, 32, 36))
_PRINTED: tuple[Point, ...] = (
    *((-0.3, -0.65), (0.57, -0.13), (-0.4, -0.2)),
    *((-0.4, 0.45), (0.5, 0.45)),
)
_BARS = "31121132112311213211123112121313211211"
_TEXTS = (
    (-0.84, -0.34, 0.2, "Mixed herbs"),
    (-0.84, -0.07, 0.095, "camomile 40 %  fennel 25 %"),
    (-0.84, 0.05, 0.095, "lemon balm 20 %  mint 15 %"),
    (-0.76, 0.665, 0.085, "4 012700 318846"),
    (0.22, 0.34, 0.115, "L 7A0419"),
    (0.22, 0.5, 0.115, "BEST 11.28"),
)


def label(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """Draw the label."""
    surface = Surface.plain(canvas, varied(rng, (236, 231, 218), 0.015), 0.04)
    surface.mottle(canvas.cloud(rng, 45.0), 0.022)
    surface.height += 0.0012 * canvas.cloud(rng, 60.0)
    paper = canvas.posed(rng, turn=0.03, shift=0.025, zoom=0.015)
    press = _misprint(defect) if defect.kind == "misprint" else sample
    for number, ink in enumerate(_INKS):
        sheet = paper.moved((rng.normal(0.0, 0.003), rng.normal(0.0, 0.003)))
        density = rng.uniform(0.88, 0.96) + 0.035 * canvas.cloud(rng, 30.0)
        inked = press(_plate(number), sheet) * density
        surface.paint(np.clip(inked, 0.0, 1.0), varied(rng, ink, 0.03))

    if defect.kind == "stain":
        stain(surface, paper, defect, 0.6, (170, 120, 74), 0.24)
    elif defect.kind == "crease":
        _crease(surface, paper, defect)
    return surface


def _misprint(defect: Defect) -> Callable[[Field, Canvas], Field]:
    """What prints a plate with a fault within a window of the sheet.

    The fault is a `void` (no ink), a `ghost` (printed twice), a `smear` (dragged ink) or a `shift`.
    """
    rng = defect.rng
    form = str(rng.choice(["void", "ghost", "smear", "shift"]))
    x, y = _PRINTED[int(rng.integers(len(_PRINTED)))]
    angle = rng.uniform(0.0, TURN)
    far = defect.between(0.04, 0.065) * (3.0 if form == "smear" else 1.0)
    centre = (x + rng.uniform(-0.1, 0.1), y + rng.uniform(-0.03, 0.03))
    half = (defect.between(0.2, 0.42), defect.between(0.11, 0.17))
    dx, dy = far * float(np.cos(angle)), 0.7 * far * float(np.sin(angle))
    strength = defect.between(0.75, 1.0)

    def press(plate: Field, sheet: Canvas) -> Field:
        good = sample(plate, sheet)
        if form == "void":
            faulty = np.zeros_like(good)
        elif form == "smear":
            drags = (
                sample(plate, sheet.moved((t * dx, t * dy))) * (1 - t)
                for t in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
            )
            faulty = np.maximum.reduce([good, *drags])
        else:
            moved = sample(plate, sheet.moved((dx, dy)))
            faulty = moved if form == "shift" else np.maximum(good, 0.75 * moved)
        window = sheet.cover(sheet.box(centre, half, 0.03), soft=0.02)
        return good + (faulty - good) * window * strength

    return press


@cache
def _plate(ink: int) -> Field:
    """Coverage of an ink over [-1, 1], drawn at twice the size and reduced."""
    size = 2 * _ARTWORK
    sheet = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(sheet)

    def at(*values: float) -> list[float]:
        return [(v + 1.0) * size / 2.0 for v in values]

    def text(x: float, y: float, height: float, words: str, fill: int = 255) -> None:
        left, top = at(x, y)
        pen.text((left, top), words, fill=fill, font=ImageFont.load_default(height * size / 2.0))

    if ink == 0:
        pen.rectangle(at(-0.84, -0.84, 0.84, -0.46), fill=255)
        text(-0.74, -0.83, 0.32, "NORDLYS", fill=0)
        pen.rectangle(at(-0.84, 0.8, 0.84, 0.84), fill=255)
    elif ink == 1:
        pen.ellipse(at(0.34, -0.36, 0.8, 0.1), fill=255)
        text(0.44, -0.29, 0.28, "24", fill=0)
        pen.rectangle(at(-0.84, -0.42, 0.2, -0.39), fill=255)
    else:
        for line in _TEXTS:
            text(*line)
        x = -0.84
        for number, width in enumerate(_BARS):
            step = 0.0125 * int(width)
            if number % 2 == 0:
                pen.rectangle(at(x, 0.28, x + step, 0.66), fill=255)
            x += step
    pixels = np.asarray(sheet, np.float32) / np.float32(255.0)
    reduced: Field = pixels.reshape(_ARTWORK, 2, _ARTWORK, 2).mean(axis=(1, 3))
    reduced.flags.writeable = False
    return reduced


def _crease(surface: Surface, paper: Canvas, defect: Defect) -> None:
    """A fold across the carton: a ridge that shades, and ink and fibre broken along it."""
    start, heading, length = defect.line(0.45, 0.6, 1.3)
    distance = paper.polyline(walk(defect.rng, start, heading, length, 8, 0.06), 0.0)
    surface.height += defect.between(0.03, 0.06) * np.exp(-distance / 0.034)
    flaked = smooth(0.02, 0.006, distance + 0.008 * paper.cloud(defect.rng, 30.0))
    surface.paint(flaked * defect.between(0.6, 0.95), (250, 248, 243), 0.0)
