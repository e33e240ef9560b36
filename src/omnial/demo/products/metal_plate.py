"""A brushed steel plate with four cross-head screws, a bore and two dowel holes."""

import numpy as np

from omnial.demo.canvas import (
    Canvas,
    Point,
    box,
    cloud,
    disc,
    norm,
    smooth,
    value_noise,
)
from omnial.demo.defects import Defect, dent, scratch, stain
from omnial.demo.surface import Surface, cast_shadow, close_up, varied

KINDS = ("dent", "missing_part", "scratch", "stain")

_SCREWS: tuple[Point, ...] = ((-0.56, -0.56), (0.56, -0.56), (-0.56, 0.56), (0.56, 0.56))
_BORES: tuple[tuple[Point, float], ...] = (
    ((0.0, 0.0), 0.21),
    ((-0.46, 0.0), 0.06),
    ((0.46, 0.0), 0.06),
)
_RUST = (176, 104, 52)


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect | None) -> Surface:
    """Draw the plate; every draw from `rng` happens with and without the defect."""
    surface = Surface.plain(canvas, varied(rng, (52, 55, 60), 0.06))
    surface.mottle(cloud(canvas, rng, 40.0, 2), 0.12)
    plate = canvas.posed(rng, turn=0.05, shift=0.03, zoom=0.02)
    edge = box(plate, (0.0, 0.0), (0.8, 0.8), 0.12)
    cover = plate.cover(edge)
    surface.dim(cast_shadow(canvas, cover, 0.05, 0.03) * (1.0 - cover), 0.75)
    surface.paint(cover, varied(rng, (176, 179, 184), 0.03), 0.16)
    brush = value_noise(plate.x * 2.5, plate.y * 150.0, rng)
    brush += 0.7 * value_noise(plate.x * 5.0, plate.y * 70.0, rng)
    surface.mottle(brush * cover, 0.085)
    surface.height += 0.035 * smooth(0.0, -0.05, edge)

    bores = np.full_like(edge, np.inf)
    for centre, size in _BORES:
        _hole(surface, plate, centre, size)
        np.minimum(bores, disc(plate, centre, size), out=bores)
    steel = cover * smooth(0.0, 0.02, bores)
    missing: set[int] = set()
    if defect is not None and defect.kind == "missing_part":
        count = 1 + int(defect.severity > 0.75)
        missing = set(defect.rng.choice(len(_SCREWS), count, replace=False).tolist())
    if defect is not None and defect.kind == "stain":
        stain(surface, plate, defect, 0.5, _RUST, 0.21, steel)
    for i, centre in enumerate(_SCREWS):
        turn, bright = rng.uniform(0.0, np.pi), rng.uniform(0.93, 1.07)
        if i in missing:
            _hole(surface, plate, centre, 0.085)
        else:
            _screw(surface, plate, centre, turn, bright)
    if defect is not None and defect.kind == "scratch":
        scratch(surface, plate, defect, 0.45, (246, 248, 250), steel)
    if defect is not None and defect.kind == "dent":
        angle, far = defect.rng.uniform(0.0, 2.0 * np.pi), 0.44
        spot = plate.moved((far * float(np.cos(angle)), far * float(np.sin(angle))), 0.0)
        dent(surface, spot, defect, 0.12, steel)
    return surface


def _hole(surface: Surface, plate: Canvas, centre: Point, radius: float) -> None:
    """A drilled hole with a chamfer and the dark below."""
    view = close_up(surface, plate, centre, radius + 0.06)
    if view is None:
        return
    surface, plate = view
    distance = disc(plate, centre, radius)
    surface.height -= 0.04 * smooth(0.035, 0.0, distance)
    surface.paint(plate.cover(distance), (20, 20, 22), 0.0)
    inner = plate.moved((0.03, 0.03), 0.0)
    surface.paint(plate.cover(np.maximum(disc(inner, centre, radius), distance)), (44, 44, 46), 0.0)


def _screw(surface: Surface, plate: Canvas, centre: Point, turn: float, bright: float) -> None:
    """A domed head with a cross recess at any angle, in its countersink."""
    view = close_up(surface, plate, centre, 0.19)
    if view is None:
        return
    surface, plate = view
    head = plate.moved(centre, turn)
    distance = disc(head, (0.0, 0.0), 0.125)
    surface.dim(np.exp(-((distance / 0.018) ** 2)), 0.8)
    cover = plate.cover(distance)
    surface.paint(cover, (150 * bright, 150 * bright, 146 * bright), 0.35)
    radius = np.minimum(norm(head.x, head.y) / 0.125, 1.0)
    surface.height += cover * 0.05 * np.sqrt(1.0 - 0.9 * radius**2)
    recess = np.minimum(
        box(head, (0.0, 0.0), (0.078, 0.017), 0.006), box(head, (0.0, 0.0), (0.017, 0.078), 0.006)
    )
    surface.paint(plate.cover(recess), (34, 34, 34), 0.0)
    surface.height -= 0.03 * smooth(0.012, -0.01, recess)
