"""The simpler parts of the production line: gear, metal plate, blister pack."""

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator

from omnial.demo.canvas import (
    ORIGIN,
    TURN,
    Canvas,
    Field,
    Point,
    along,
    norm,
    ridge,
    smooth,
    value_noise,
)
from omnial.demo.defects import Defect, contamination, crack, dent, scratch, stain
from omnial.demo.surface import Colour, Surface, varied

_POCKETS = [(-0.54 + 0.54 * column, -0.66 + 0.44 * row) for row in range(4) for column in range(3)]
_POCKET = 0.2
_TABLET = 0.15
_TEETH = 18
_ROOT = 0.68
_TIP = 0.83
_SCREWS: tuple[Point, ...] = ((-0.56, -0.56), (0.56, -0.56), (-0.56, 0.56), (0.56, 0.56))
_BORES: tuple[tuple[Point, float], ...] = (
    (ORIGIN, 0.21),
    ((-0.46, 0.0), 0.06),
    ((0.46, 0.0), 0.06),
)


def blister(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """A blister pack: twelve pink tablets with a score line under clear pockets, on foil."""
    surface = Surface.plain(canvas, varied(rng, (58, 74, 104), 0.05), 0.02)
    surface.mottle(canvas.cloud(rng, 35.0), 0.06)
    pack = canvas.posed(rng, turn=0.04, shift=0.025, zoom=0.015)
    edge = pack.box(ORIGIN, (0.87, 0.9), 0.09)
    cover = pack.cover(edge)
    surface.put(canvas, cover, varied(rng, (168, 172, 178), 0.02), 0.3, (0.03, 0.02, 0.6))
    emboss = np.sin(58.0 * (pack.x + pack.y)) * np.sin(58.0 * (pack.x - pack.y))
    wrinkle = pack.cloud(rng, 2.5)

    # Distance to the nearest pocket's centre, along each axis of their grid.
    dx = np.abs((pack.x + 0.27) % 0.54 - 0.27)
    dy = np.abs(pack.y % 0.44 - 0.22)
    flat = smooth(-0.02, 0.02, norm(dx, dy) - _POCKET)
    surface.height += cover * flat * (0.0035 * emboss + 0.012 * wrinkle)
    surface.height += 0.02 * smooth(0.0, -0.03, edge)

    colour = varied(rng, (226, 166, 158), 0.025)
    hit: list[int] = []
    if defect.kind in ("missing_part", "crack"):
        count = 1 + int(defect.kind == "missing_part" and defect.severity > 0.7)
        hit = defect.rng.choice(len(_POCKETS), count, replace=False).tolist()
    for i, centre in enumerate(_POCKETS):
        shift, turn = rng.uniform(-0.018, 0.018, 2), rng.uniform(-0.5, 0.5)
        part, near = surface.close_up(pack, centre, _POCKET + 0.05)
        pocket = near.disc(centre, _POCKET)
        part.paint(near.cover(pocket) * 0.5, (122, 126, 132), 0.12)
        part.dim(ridge(pocket + 0.012, 0.016), 0.5)
        if i not in hit or defect.kind == "crack":
            tablet = near.moved((centre[0] + float(shift[0]), centre[1] + float(shift[1])), turn)
            _tablet(part, tablet, colour, defect if i in hit else None)
        # The clear film above: a bright rim and a reflection of the lamp.
        lamp = near.disc((centre[0] - 0.11, centre[1] - 0.11), 0.085)
        shine = near.cover(np.maximum(np.abs(pocket + 0.045) - 0.008, lamp), soft=0.012)
        film = np.clip(0.35 * ridge(pocket, 0.011) + 0.6 * shine, 0.0, 1.0)
        part.paint(film, (244, 246, 248))
    if defect.kind == "contamination":
        contamination(surface, pack, defect, 0.6)
    return surface


def _tablet(surface: Surface, tablet: Canvas, colour: Colour, broken: Defect | None) -> None:
    """A domed tablet; `broken` splits it along a jagged line and takes part of it away."""
    distance = tablet.disc(ORIGIN, _TABLET)
    if broken is not None:
        rng = broken.rng
        rotated = tablet.moved(ORIGIN, rng.uniform(0.0, TURN))
        jag = 0.025 * rotated.cloud(rng, 8.0)
        cut = rotated.x - (0.09 - broken.between(0.0, 0.09)) + jag
        crumbs = np.full_like(distance, np.inf)
        for _ in range(int(rng.integers(2, 5))):
            spot = (rng.uniform(0.08, 0.15), rng.uniform(-0.1, 0.1))
            crumbs = np.minimum(crumbs, rotated.blob(rng, spot, rng.uniform(0.014, 0.03), 0.2))
        distance = np.minimum(np.maximum(distance, cut), np.maximum(crumbs, distance - 0.03))
    surface.put(tablet, tablet.cover(distance), colour, 0.06, (0.028, 0.02, 0.55))
    surface.height += 0.045 * smooth(0.0, -0.05, distance)
    score = ridge(tablet.y, 0.013) * smooth(-0.01, -0.03, distance)
    surface.height -= 0.02 * score
    surface.dim(score, 0.25)


def gear(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """A moulded ivory gear wheel with five lightening holes on a dark green belt."""
    surface = Surface.plain(canvas, varied(rng, (38, 66, 58), 0.05), 0.03)
    surface.height += 0.004 * np.sin(52.0 * (canvas.x + 0.6 * canvas.y))
    surface.mottle(canvas.cloud(rng, 30.0), 0.1)
    wheel = canvas.posed(rng, turn=0.12, shift=0.03, zoom=0.02)

    stumps: dict[int, Field] = {}
    if defect.kind == "missing_part":
        first = int(defect.rng.integers(_TEETH))
        for k in range(1 + int(2.4 * defect.severity)):
            # A broken tooth ends at a stump of random height and slant.
            break_line = 0.02 * wheel.cloud(defect.rng, 3.5, 1)
            stumps[(first + k) % _TEETH] = _ROOT + defect.rng.uniform(0.0, 0.04) + break_line
    body = _gear_body(wheel, stumps)
    cover = wheel.cover(body)
    surface.put(canvas, cover, varied(rng, (222, 212, 188), 0.025), 0.2, (0.07, 0.035, 0.8))
    surface.height *= 1.0 - cover
    surface.mottle(wheel.cloud(rng, 6.0, 3) * cover, 0.02)
    radius = norm(wheel.x, wheel.y)
    surface.height += 0.05 * smooth(0.0, -0.035, body)
    surface.height -= 0.04 * smooth(0.6, 0.57, radius) * smooth(0.3, 0.33, radius) * cover
    surface.dim(ridge(radius - 0.58, 0.015) * cover, 0.3)
    surface.dim(ridge(radius - 0.315, 0.015) * cover, 0.3)

    if defect.kind == "crack":
        angle = defect.rng.uniform(0.0, TURN)
        line = (along(ORIGIN, angle, 0.17), angle, defect.between(0.42, 0.62))
        crack(surface, wheel, defect, line, cover)
    elif defect.kind == "contamination":
        contamination(surface, wheel, defect, 0.45)
    return surface


def _gear_body(wheel: Canvas, stumps: Mapping[int, Field]) -> Field:
    """Approximate signed distance to the wheel; `stumps` cuts teeth off at that radius."""
    radius = norm(wheel.x, wheel.y)
    turn = np.arctan2(wheel.y, wheel.x) * (_TEETH / TURN)
    tooth = np.round(turn)
    arc = np.abs(turn - tooth) * (TURN / _TEETH) * radius
    flank = arc - (0.082 - 0.30 * (radius - _ROOT))
    teeth = np.maximum(np.maximum(flank, radius - _TIP), _ROOT - 0.1 - radius)
    for number, stump in stumps.items():
        teeth = np.where(tooth % _TEETH == number, np.maximum(teeth, radius - stump), teeth)
    body = np.minimum(radius - _ROOT, teeth)
    for k in range(5):
        body = np.maximum(body, -wheel.disc(along(ORIGIN, TURN * k / 5, 0.45), 0.095))
    bore = np.minimum(wheel.disc(ORIGIN, 0.15), wheel.box((0.0, -0.16), (0.04, 0.05)))
    wheel_alone: Field = np.maximum(body, -bore)
    return wheel_alone


def metal_plate(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """A brushed steel plate with four cross-head screws, a bore and two dowel holes."""
    surface = Surface.plain(canvas, varied(rng, (52, 55, 60), 0.06))
    surface.mottle(canvas.cloud(rng, 40.0), 0.12)
    plate = canvas.posed(rng, turn=0.05, shift=0.03, zoom=0.02)
    edge = plate.box(ORIGIN, (0.8, 0.8), 0.12)
    cover = plate.cover(edge)
    surface.put(canvas, cover, varied(rng, (176, 179, 184), 0.03), 0.16, (0.05, 0.03, 0.75))
    brush = value_noise(plate.x * 2.5, plate.y * 150.0, rng)
    brush += 0.7 * value_noise(plate.x * 5.0, plate.y * 70.0, rng)
    surface.mottle(brush * cover, 0.085)
    surface.height += 0.035 * smooth(0.0, -0.05, edge)

    for centre, size in _BORES:
        _drilled_hole(surface, plate, centre, size)
    bores = np.minimum.reduce([plate.disc(centre, size) for centre, size in _BORES])
    steel = cover * smooth(0.0, 0.02, bores)
    missing: list[int] = []
    if defect.kind == "missing_part":
        count = 1 + int(defect.severity > 0.75)
        missing = defect.rng.choice(len(_SCREWS), count, replace=False).tolist()
    elif defect.kind == "stain":
        stain(surface, plate, defect, 0.5, (176, 104, 52), 0.21, steel)
    for i, centre in enumerate(_SCREWS):
        turn, bright = rng.uniform(0.0, np.pi), rng.uniform(0.93, 1.07)
        if i in missing:
            _drilled_hole(surface, plate, centre, 0.085)
        else:
            _screw(surface, plate, centre, turn, bright)
    if defect.kind == "scratch":
        scratch(surface, plate, defect, 0.45, (246, 248, 250), steel)
    elif defect.kind == "dent":
        spot = plate.moved(along(ORIGIN, defect.rng.uniform(0.0, TURN), 0.44))
        dent(surface, spot, defect, 0.12, steel)
    return surface


def _drilled_hole(surface: Surface, plate: Canvas, centre: Point, radius: float) -> None:
    """A drilled hole with a chamfer and the dark below."""
    surface, plate = surface.close_up(plate, centre, radius + 0.06)
    distance = plate.disc(centre, radius)
    surface.height -= 0.04 * smooth(0.035, 0.0, distance)
    surface.paint(plate.cover(distance), (20, 20, 22), 0.0)
    inner = plate.moved((0.03, 0.03)).disc(centre, radius)
    surface.paint(plate.cover(np.maximum(inner, distance)), (44, 44, 46), 0.0)


def _screw(surface: Surface, plate: Canvas, centre: Point, turn: float, bright: float) -> None:
    """A domed head with a cross recess at any angle, in its countersink."""
    surface, plate = surface.close_up(plate, centre, 0.19)
    head = plate.moved(centre, turn)
    distance = head.disc(ORIGIN, 0.125)
    surface.dim(ridge(distance, 0.018), 0.8)
    cover = plate.cover(distance)
    surface.paint(cover, (150 * bright, 150 * bright, 146 * bright), 0.35)
    radius = np.minimum(norm(head.x, head.y) / 0.125, 1.0)
    surface.height += cover * 0.05 * np.sqrt(1.0 - 0.9 * radius**2)
    bars = [head.box(ORIGIN, half, 0.006) for half in ((0.078, 0.017), (0.017, 0.078))]
    recess = np.minimum(*bars)
    surface.paint(plate.cover(recess), (34, 34, 34), 0.0)
    surface.height -= 0.03 * smooth(0.012, -0.01, recess)
