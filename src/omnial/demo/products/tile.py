"""A terrazzo tile: stone chips of four colours in pale cement, polished."""

import numpy as np

from omnial.demo.canvas import TURN, Canvas, Field, smooth
from omnial.demo.defects import Defect, crack, stain
from omnial.demo.surface import Surface, varied

KINDS = ("chip", "crack", "stain")

_STONES = (
    *(((138, 134, 128), 11.0), ((182, 142, 118), 11.0)),
    *(((112, 126, 130), 17.6), ((228, 224, 216), 17.6)),
)
"""Colour of the stones, and cells across the tile that hold one of them at most."""
_LATTICE = 64


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect) -> Surface:
    """Draw the tile."""
    surface = Surface.plain(canvas, varied(rng, (206, 202, 192), 0.02), 0.12)
    surface.mottle(canvas.cloud(rng, 25.0), 0.045)
    for colour, cells in _STONES:
        cover = canvas.cover(_stones(canvas, rng, cells / 2.0) * (2.0 / cells))
        surface.paint(cover, varied(rng, colour, 0.04))
    surface.mottle(canvas.cloud(rng, 50.0, 1), 0.03)

    if defect.kind == "chip":
        _chip(surface, canvas, defect)
    elif defect.kind == "crack":
        crack(surface, canvas, defect, defect.line(0.4, 0.7, 1.5))
    elif defect.kind == "stain":
        stain(surface, canvas, defect, 0.6, (150, 92, 60), 0.22)
    return surface


def _stones(canvas: Canvas, rng: np.random.Generator, frequency: float) -> Field:
    """Signed distance, in cells, to convex stones: at most one in each cell of a rotated grid."""
    centre = (rng.uniform(-1, 1), rng.uniform(-1, 1))
    grid = canvas.moved(centre, rng.uniform(0, 1.5), 1 / frequency)
    shape = (_LATTICE, _LATTICE)
    column, row = np.floor(grid.x), np.floor(grid.y)
    at = (row.astype(np.int32) % _LATTICE) * _LATTICE + column.astype(np.int32) % _LATTICE

    def in_cells(values: Field) -> Field:
        return values.astype(np.float32).take(at)

    present = rng.uniform(0.0, 1.0, shape) < 0.42
    size = np.where(present, rng.uniform(0.16, 0.42, shape), -9.0).astype(np.float32)
    shift = rng.uniform(-0.1, 0.1, (2, *shape))
    across, down = grid.x - column - 0.5, grid.y - row - 0.5
    x, y = across + in_cells(shift[0]), down + in_cells(shift[1])
    tilt = rng.uniform(0.0, TURN, shape)
    distance = np.full_like(x, -np.inf)
    for side in range(5):
        angle = tilt + (TURN / 5.0) * side + rng.normal(0.0, 0.22, shape)
        reach = in_cells(size * rng.uniform(0.75, 1.05, shape))
        edge = x * in_cells(np.cos(angle)) + y * in_cells(np.sin(angle)) - reach
        np.maximum(distance, edge, out=distance)
    stones: Field = np.maximum(distance, np.maximum(np.abs(across), np.abs(down)) - 0.48)
    return stones


def _chip(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """A broken-out piece: rough raw cement in a hollow with a sharp edge."""
    rng = defect.rng
    radius = defect.between(0.07, 0.17)
    rough = canvas.cloud(rng, 22.0, 3)
    distance = canvas.blob(rng, defect.point(0.65), radius, 0.2) + 0.012 * rough
    cover = canvas.cover(distance)
    surface.paint(cover * defect.between(0.7, 0.95), (146, 136, 122), 0.0)
    surface.height += cover * (0.012 * rough - 0.05 * smooth(0.0, -0.6 * radius, distance))
    surface.height -= 0.015 * smooth(0.008, -0.008, distance)
