"""A populated circuit board: two chips, resistors, capacitors, traces, vias and print."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from omnial.demo.canvas import (
    Canvas,
    Field,
    Point,
    blob,
    box,
    cloud,
    disc,
    polyline,
    sample,
    smooth,
)
from omnial.demo.defects import Defect
from omnial.demo.surface import Colour, Surface, cast_shadow, close_up, varied

KINDS = ("misplaced", "missing_part", "solder_bridge")

_TIN: Colour = (186, 188, 190)
_PRINT: Colour = (226, 230, 222)


@dataclass(frozen=True)
class _Part:
    """A component: its form, place, half size and turn by quarter turns."""

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


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect | None) -> Surface:
    """Draw the board; every draw from `rng` happens with and without the defect."""
    surface = Surface.plain(canvas, varied(rng, (26, 92, 58), 0.04), 0.1)
    surface.mottle(cloud(canvas, rng, 30.0, 2), 0.05)
    board = canvas.posed(rng, turn=0.03, shift=0.02, zoom=0.015)
    copper = sample(_traces(), board)
    surface.paint(board.cover(copper) * 0.85, varied(rng, (48, 128, 78), 0.03), 0.16)
    surface.height += 0.006 * smooth(0.01, -0.01, copper)
    for via in _VIAS:
        view = close_up(surface, board, via, 0.07)
        if view is not None:
            ring = disc(view[1], via, 0.042)
            view[0].paint(board.cover(ring), (196, 164, 84), 0.3)
            view[0].paint(board.cover(ring + 0.024), (22, 24, 22), 0.0)

    odd = _chosen(defect)
    for number, part in enumerate(_PARTS):
        shift, turn = rng.uniform(-0.01, 0.01, 2), rng.normal(0.0, 0.02)
        bright = rng.uniform(0.92, 1.08)
        view = close_up(surface, board, part.centre, max(part.half) + 0.16)
        if view is None:
            continue
        here, near = view
        _land(here, near, part)
        x, y = part.centre[0] + float(shift[0]), part.centre[1] + float(shift[1])
        if number == odd and defect is not None and defect.kind == "missing_part":
            continue
        if number == odd and defect is not None and defect.kind == "misplaced":
            sign = float(defect.rng.choice([-1.0, 1.0]))
            turn += sign * defect.between(0.3, 1.2)
            x += defect.rng.normal(0.0, 0.02)
            y += defect.rng.normal(0.0, 0.02)
        place = near.moved((x, y), turn + (np.pi / 2.0 if part.upright else 0.0))
        _DRAW[part.form](here, place, part.half, bright)
    if defect is not None and defect.kind == "solder_bridge":
        _solder_bridge(surface, board, defect)
    return surface


@cache
def _traces() -> Field:
    """Signed distance to the traces, which lie alike on every board."""
    sheet = Canvas.of_size(512)
    strokes = (polyline(sheet, trace, [0.016] * len(trace)) for trace in _TRACES)
    distance: Field = np.minimum.reduce(list(strokes))
    distance.flags.writeable = False
    return distance


def _chosen(defect: Defect | None) -> int:
    """Number of the part that is missing or misplaced: a small one; -1 for none."""
    if defect is None or defect.kind == "solder_bridge":
        return -1
    small = [i for i, part in enumerate(_PARTS) if part.form in ("resistor", "capacitor")]
    return int(defect.rng.choice(small))


def _land(surface: Surface, board: Canvas, part: _Part) -> None:
    """Tinned pads below a part, and the printed frame around it."""
    place = board.moved(part.centre, np.pi / 2.0 if part.upright else 0.0)
    wide, high = part.half
    frame = np.abs(box(place, (0.0, 0.0), (wide + 0.05, high + 0.035), 0.02)) - 0.005
    if part.form == "can":
        frame = np.abs(disc(place, (0.0, 0.0), wide + 0.035)) - 0.005
    if part.form != "chip":
        surface.paint(place.cover(frame) * 0.85, _PRINT)
        for side in (-1.0, 1.0):
            pad = box(place, (side * wide * 0.82, 0.0), (0.045, high), 0.01)
            surface.paint(place.cover(pad), _TIN, 0.35)
            surface.height += 0.006 * smooth(0.01, -0.02, pad)


def _raise(surface: Surface, place: Canvas, distance: Field, colour: Colour, gloss: float,
           high: float) -> None:  # fmt: skip
    """A solid body with bevelled edges and a shadow."""
    cover = place.cover(distance)
    surface.dim(cast_shadow(place, cover, 0.7 * high, 0.4 * high) * (1.0 - cover), 0.7)
    surface.paint(cover, colour, gloss)
    surface.expose(cover)
    surface.height += cover * (high * 0.5 * smooth(0.0, -0.03, distance) - surface.height)


def _chip(surface: Surface, place: Canvas, half: Point, bright: float) -> None:
    wide, high = half
    count = round(high / 0.05)
    pins = np.full_like(place.x, np.inf)
    for k in range(count):
        y = (k + 0.5) * 2.0 * high / count - high
        for side in (-1.0, 1.0):
            np.minimum(pins, box(place, (side * (wide + 0.03), y), (0.045, 0.02)), out=pins)
    _raise(surface, place, pins, _TIN, 0.35, 0.02)
    body = box(place, (0.0, 0.0), half, 0.015)
    grey = 46.0 * bright
    _raise(surface, place, body, (grey, grey, grey * 1.03), 0.08, 0.055)
    surface.paint(place.cover(disc(place, (-wide + 0.06, -high + 0.06), 0.024)), (22, 22, 22))
    for row, length in enumerate((0.24, 0.18, 0.21)):
        y = -0.06 + 0.07 * row
        # Laser marking too small to read: dashes of the size of letters.
        marks = np.maximum(
            box(place, (0.0, y), (length * wide / 0.3, 0.018)),
            0.006 - np.abs((place.x * 28.0 + row * 0.3) % 1.0 - 0.5) / 28.0,
        )
        surface.paint(place.cover(marks) * 0.6, (150, 150, 148))


def _resistor(surface: Surface, place: Canvas, half: Point, bright: float) -> None:
    _raise(surface, place, box(place, (0.0, 0.0), half, 0.01), _TIN, 0.35, 0.035)
    body = box(place, (0.0, 0.0), (half[0] * 0.64, half[1]), 0.005)
    surface.paint(place.cover(body), (40 * bright, 40 * bright, 44 * bright), 0.08)
    surface.paint(place.cover(box(place, (0.0, 0.0), (0.035, 0.02))) * 0.6, _PRINT)


def _capacitor(surface: Surface, place: Canvas, half: Point, bright: float) -> None:
    _raise(surface, place, box(place, (0.0, 0.0), half, 0.012), _TIN, 0.35, 0.05)
    body = box(place, (0.0, 0.0), (half[0] * 0.66, half[1]), 0.005)
    surface.paint(place.cover(body), (176 * bright, 138 * bright, 96 * bright), 0.12)


def _can(surface: Surface, place: Canvas, half: Point, bright: float) -> None:
    body = disc(place, (0.0, 0.0), half[0])
    _raise(surface, place, body, (190 * bright, 192 * bright, 196 * bright), 0.3, 0.11)
    stripe = np.maximum(body + 0.012, place.x + half[0] * 0.5)
    surface.paint(place.cover(stripe), (30, 30, 34), 0.1)
    surface.dim(np.exp(-(((body + 0.035) / 0.012) ** 2)), 0.3)


_DRAW = {"chip": _chip, "resistor": _resistor, "capacitor": _capacitor, "can": _can}


def _solder_bridge(surface: Surface, board: Canvas, defect: Defect) -> None:
    """A lump of solder that joins two or more neighbouring pins of a chip."""
    rng = defect.rng
    chip = _PARTS[int(rng.integers(2))]
    wide, high = chip.half
    side = float(rng.choice([-1.0, 1.0]))
    y = rng.uniform(-0.75, 0.75) * high
    centre = (chip.centre[0] + side * (wide + 0.05), chip.centre[1] + y)
    size = defect.between(0.05, 0.1)
    view = close_up(surface, board, centre, 2.5 * size + 0.06)
    if view is None:
        return
    surface, board = view
    distance = blob(board, rng, centre, size, 0.12)
    cover = board.cover(distance)
    surface.dim(cast_shadow(board, cover, 0.02, 0.015) * (1.0 - cover), 0.5)
    surface.paint(cover, (178, 180, 182), 0.55)
    surface.expose(cover)
    surface.height += 0.55 * size * smooth(0.0, -0.9 * size, distance)
