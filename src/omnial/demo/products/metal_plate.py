"""A brushed steel plate with four cross-head screws, a bore and two dowel holes."""

import numpy as np

from omnial.demo.canvas import ORIGIN, TURN, Canvas, Point, along, norm, ridge, smooth, value_noise
from omnial.demo.defects import Defect, dent, scratch, stain
from omnial.demo.surface import Surface, varied

KINDS = ("dent", "missing_part", "scratch", "stain")

_SCREWS: tuple[Point, ...] = ((-0.56, -0.56), (0.56, -0.56), (-0.56, 0.56), (0.56, 0.56))
_BORES: tuple[tuple[Point, float], ...] = (
    (ORIGIN, 0.21),
    ((-0.46, 0.0), 0.06),
    ((0.46, 0.0), 0.06),
)


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect) -> Surface:
    """Draw the plate."""
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
        _hole(surface, plate, centre, size)
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
            _hole(surface, plate, centre, 0.085)
        else:
            _screw(surface, plate, centre, turn, bright)
    if defect.kind == "scratch":
        scratch(surface, plate, defect, 0.45, (246, 248, 250), steel)
    elif defect.kind == "dent":
        spot = plate.moved(along(ORIGIN, defect.rng.uniform(0.0, TURN), 0.44))
        dent(surface, spot, defect, 0.12, steel)
    return surface


def _hole(surface: Surface, plate: Canvas, centre: Point, radius: float) -> None:
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
