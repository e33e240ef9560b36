"""A populated circuit board: two chips, resistors, capacitors, traces, vias and print."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from omnial.demo.canvas import ORIGIN, Canvas, Field, Point, ridge, sample, smooth
from omnial.demo.defects import Defect
from omnial.demo.surface import Colour, Surface, varied

_TIN: Colour = (186, 188, 190)
_PRINT: Colour = (226, 230, 222)


class _Part(NamedTuple):
    form: str
    centre: Point
    half: Point
    upright: bool = False


_PARTS = (
    _Part("chip", (-0.36, -0.36), (0.2, 0.3)),
    _Part("chip", (0.42, 0.36), (0.17, 0.22)),
    _Part("can", (0.5, -0.5), (0.21, 0.21)),
    _Part("resistor", (-0.68, 0.24), (0.11, 0.055)),
    _Part("resistor", (-0.68, 0.44), (0.11, 0.055)),
    _Part("resistor", (-0.68, 0.64), (0.11, 0.055)),
    _Part("capacitor", (-0.32, 0.3), (0.12, 0.065), upright=True),
    _Part("capacitor", (-0.1, 0.3), (0.12, 0.065), upright=True),
    _Part("resistor", (-0.22, 0.64), (0.11, 0.055)),
    _Part("capacitor", (0.1, -0.68), (0.12, 0.065)),
    _Part("resistor", (0.1, -0.1), (0.11, 0.055), upright=True),
    _Part("capacitor", (0.42, 0.76), (0.12, 0.065)),
)
_SMALL = [i for i, part in enumerate(_PARTS) if part.form in ("resistor", "capacitor")]
_TRACES: tuple[tuple[Point, ...], ...] = (
    ((-0.68, 0.24), (-0.5, 0.24), (-0.5, 0.1), (-0.36, -0.04)),
    ((-0.68, 0.44), (-0.42, 0.44), (-0.32, 0.34)),
    ((-0.68, 0.64), (-0.22, 0.64), (0.0, 0.64), (0.2, 0.46)),
    ((-0.1, 0.2), (-0.1, 0.0), (0.1, -0.2), (0.1, -0.68)),
    ((0.1, 0.0), (0.1, 0.2), (0.24, 0.34)),
    ((0.5, -0.5), (0.5, -0.14), (0.8, 0.1), (0.8, 0.84)),
    ((-0.1, -0.5), (0.1, -0.68), (0.3, -0.84), (0.84, -0.84)),
    ((-0.84, -0.84), (-0.84, 0.1), (-0.78, 0.24)),
    ((0.42, 0.6), (0.42, 0.84), (-0.6, 0.84)),
)
_VIAS: tuple[Point, ...] = (
    (0.8, 0.1), (0.8, 0.84), (-0.6, 0.84), (0.84, -0.84), (-0.84, -0.84), (0.1, 0.2), (-0.5, 0.1),
    (0.1, -0.42), (0.72, -0.14), (0.0, 0.5),
)  # fmt: skip


def circuit_board(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """Draw the board."""
    surface = Surface.plain(canvas, varied(rng, (26, 92, 58), 0.04), 0.1)
    surface.mottle(canvas.cloud(rng, 30.0), 0.05)
    board = canvas.posed(rng, turn=0.03, shift=0.02, zoom=0.015)
    copper = sample(_traces(), board)
    surface.paint(board.cover(copper) * 0.85, varied(rng, (48, 128, 78), 0.03), 0.16)
    surface.height += 0.006 * smooth(0.01, -0.01, copper)
    for via in _VIAS:
        here, near = surface.close_up(board, via, 0.07)
        ring = near.disc(via, 0.042)
        here.paint(board.cover(ring), (196, 164, 84), 0.3)
        here.paint(board.cover(ring + 0.024), (22, 24, 22), 0.0)

    odd = int(defect.rng.choice(_SMALL)) if defect.kind in ("misplaced", "missing_part") else -1
    for number, part in enumerate(_PARTS):
        shift, turn = rng.uniform(-0.01, 0.01, 2), rng.normal(0.0, 0.02)
        bright = rng.uniform(0.92, 1.08)
        here, near = surface.close_up(board, part.centre, max(part.half) + 0.16)
        upright = np.pi / 2.0 if part.upright else 0.0
        _land(here, near.moved(part.centre, upright), part)
        centre = (part.centre[0] + float(shift[0]), part.centre[1] + float(shift[1]))
        if number == odd and defect.kind == "missing_part":
            continue
        if number == odd:
            turn += float(defect.rng.choice([-1.0, 1.0])) * defect.between(0.3, 1.2)
            centre = defect.near(centre, 0.02)
        _DRAW[part.form](here, near.moved(centre, turn + upright), part.half, bright)
    if defect.kind == "solder_bridge":
        _solder_bridge(surface, board, defect)
    return surface


@cache
def _traces() -> Field:
    """Signed distance to the traces, which lie alike on every board."""
    sheet = Canvas.of_size(512)
    distance: Field = np.minimum.reduce([sheet.polyline(trace, 0.016) for trace in _TRACES])
    distance.flags.writeable = False
    return distance


def _land(surface: Surface, frame: Canvas, part: _Part) -> None:
    """Tinned pads below a part, and the printed frame around it."""
    if part.form == "chip":
        return
    wide, high = part.half
    outline = frame.box(ORIGIN, (wide + 0.05, high + 0.035), 0.02)
    if part.form == "can":
        outline = frame.disc(ORIGIN, wide + 0.035)
    surface.paint(frame.cover(np.abs(outline) - 0.005) * 0.85, _PRINT)
    for side in (-1.0, 1.0):
        pad = frame.box((side * wide * 0.82, 0.0), (0.045, high), 0.01)
        surface.paint(frame.cover(pad), _TIN, 0.35)
        surface.height += 0.006 * smooth(0.01, -0.02, pad)


def _raise(
    surface: Surface, frame: Canvas, distance: Field, colour: Colour, gloss: float, high: float
) -> None:
    """A solid body with bevelled edges and a shadow."""
    cover = frame.cover(distance)
    surface.put(frame, cover, colour, gloss, (0.7 * high, 0.4 * high, 0.7))
    surface.height += cover * (high * 0.5 * smooth(0.0, -0.03, distance) - surface.height)


def _chip(surface: Surface, frame: Canvas, half: Point, bright: float) -> None:
    wide, high = half
    count = round(high / 0.05)
    pins = np.full_like(frame.x, np.inf)
    for k in range(count):
        y = (k + 0.5) * 2.0 * high / count - high
        for side in (-1.0, 1.0):
            np.minimum(pins, frame.box((side * (wide + 0.03), y), (0.045, 0.02)), out=pins)
    _raise(surface, frame, pins, _TIN, 0.35, 0.02)
    grey = 46.0 * bright
    _raise(surface, frame, frame.box(ORIGIN, half, 0.015), (grey, grey, grey * 1.03), 0.08, 0.055)
    surface.paint(frame.cover(frame.disc((-wide + 0.06, -high + 0.06), 0.024)), (22, 22, 22))
    for row, length in enumerate((0.24, 0.18, 0.21)):
        # Laser marking too small to read: dashes of the size of letters.
        line = frame.box((0.0, -0.06 + 0.07 * row), (length * wide / 0.3, 0.018))
        gaps = 0.006 - np.abs((frame.x * 28.0 + row * 0.3) % 1.0 - 0.5) / 28.0
        surface.paint(frame.cover(np.maximum(line, gaps)) * 0.6, (150, 150, 148))


def _resistor(surface: Surface, frame: Canvas, half: Point, bright: float) -> None:
    _raise(surface, frame, frame.box(ORIGIN, half, 0.01), _TIN, 0.35, 0.035)
    body = frame.box(ORIGIN, (half[0] * 0.64, half[1]), 0.005)
    surface.paint(frame.cover(body), (40 * bright, 40 * bright, 44 * bright), 0.08)
    surface.paint(frame.cover(frame.box(ORIGIN, (0.035, 0.02))) * 0.6, _PRINT)


def _capacitor(surface: Surface, frame: Canvas, half: Point, bright: float) -> None:
    _raise(surface, frame, frame.box(ORIGIN, half, 0.012), _TIN, 0.35, 0.05)
    body = frame.box(ORIGIN, (half[0] * 0.66, half[1]), 0.005)
    surface.paint(frame.cover(body), (176 * bright, 138 * bright, 96 * bright), 0.12)


def _can(surface: Surface, frame: Canvas, half: Point, bright: float) -> None:
    body = frame.disc(ORIGIN, half[0])
    _raise(surface, frame, body, (190 * bright, 192 * bright, 196 * bright), 0.3, 0.11)
    stripe = np.maximum(body + 0.012, frame.x + half[0] * 0.5)
    surface.paint(frame.cover(stripe), (30, 30, 34), 0.1)
    surface.dim(ridge(body + 0.035, 0.012), 0.3)


_DRAW = {"chip": _chip, "resistor": _resistor, "capacitor": _capacitor, "can": _can}


def _solder_bridge(surface: Surface, board: Canvas, defect: Defect) -> None:
    """A lump of solder that joins two or more neighbouring pins of a chip."""
    rng = defect.rng
    chip = _PARTS[int(rng.integers(2))]
    wide, high = chip.half
    x = float(rng.choice([-1.0, 1.0])) * (wide + 0.05)
    centre = (chip.centre[0] + x, chip.centre[1] + rng.uniform(-0.75, 0.75) * high)
    size = defect.between(0.05, 0.1)
    here, near = surface.close_up(board, centre, 2.5 * size + 0.06)
    distance = near.blob(rng, centre, size, 0.12)
    here.put(near, near.cover(distance), (178, 180, 182), 0.55, (0.02, 0.015, 0.5))
    here.height += 0.55 * size * smooth(0.0, -0.9 * size, distance)
