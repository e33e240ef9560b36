"""A terrazzo tile: stone chips of four colours in pale cement, polished."""

import numpy as np

from omnial.demo.canvas import Canvas, Field, blob, cloud, smooth
from omnial.demo.defects import Defect, crack, stain
from omnial.demo.surface import Surface, varied

KINDS = ("chip", "crack", "stain")

_STONES = ((138, 134, 128), (182, 142, 118), (112, 126, 130), (228, 224, 216))
_CELLS = 11


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect | None) -> Surface:
    """Draw the tile; every draw from `rng` happens with and without the defect."""
    surface = Surface.plain(canvas, varied(rng, (206, 202, 192), 0.02), 0.12)
    surface.mottle(cloud(canvas, rng, 25.0, 2), 0.045)
    for stone, cells in zip(_STONES, (_CELLS, _CELLS, 1.6 * _CELLS, 1.6 * _CELLS), strict=True):
        cover = canvas.cover(_stones(canvas, rng, cells / 2.0) * (2.0 / cells))
        surface.paint(cover, varied(rng, stone, 0.04))
    surface.mottle(cloud(canvas, rng, 50.0, 1), 0.03)

    if defect is not None and defect.kind == "chip":
        _chip(surface, canvas, defect)
    elif defect is not None and defect.kind == "crack":
        heading = defect.rng.uniform(0.0, 2.0 * np.pi)
        length = defect.between(0.7, 1.5)
        x, y = defect.place(0.4)
        start = (
            x - 0.5 * length * float(np.cos(heading)),
            y - 0.5 * length * float(np.sin(heading)),
        )
        crack(surface, canvas, defect, start, heading, length)
    elif defect is not None and defect.kind == "stain":
        stain(surface, canvas, defect, 0.6, (150, 92, 60), 0.22)
    return surface


def _stones(canvas: Canvas, rng: np.random.Generator, frequency: float) -> Field:
    """Signed distance, in cells, to convex stones: at most one in each cell of a rotated grid."""
    grid = canvas.moved(
        (rng.uniform(-1, 1), rng.uniform(-1, 1)), rng.uniform(0, 1.5), 1 / frequency
    )
    count = 64
    column, row = np.floor(grid.x), np.floor(grid.y)
    at = (row.astype(np.int32) % count) * count + column.astype(np.int32) % count
    present = rng.uniform(0.0, 1.0, (count, count)) < 0.42
    size = np.where(present, rng.uniform(0.16, 0.42, (count, count)), -9.0).astype(np.float32)
    shift = rng.uniform(-0.1, 0.1, (2, count, count)).astype(np.float32)
    x, y = grid.x - column - 0.5 + shift[0].take(at), grid.y - row - 0.5 + shift[1].take(at)
    tilt = rng.uniform(0.0, 2.0 * np.pi, (count, count))
    distance = np.full_like(x, -np.inf)
    for side in range(5):
        angle = tilt + (2.0 * np.pi / 5.0) * side + rng.normal(0.0, 0.22, (count, count))
        cos, sin = (
            np.cos(angle).astype(np.float32).take(at),
            np.sin(angle).astype(np.float32).take(at),
        )
        reach = (size * rng.uniform(0.75, 1.05, (count, count))).astype(np.float32).take(at)
        np.maximum(distance, x * cos + y * sin - reach, out=distance)
    cell = np.maximum(np.abs(grid.x - column - 0.5), np.abs(grid.y - row - 0.5)) - 0.48
    stones: Field = np.maximum(distance, cell)
    return stones


def _chip(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """A broken-out piece: rough raw cement in a hollow with a sharp edge."""
    rng = defect.rng
    radius = defect.between(0.07, 0.17)
    rough = cloud(canvas, rng, 22.0, 3)
    distance = blob(canvas, rng, defect.place(0.65), radius, 0.2) + 0.012 * rough
    cover = canvas.cover(distance)
    surface.paint(cover * np.float32(defect.between(0.7, 0.95)), (146, 136, 122), 0.0)
    surface.height += cover * (0.012 * rough - 0.05 * smooth(0.0, -0.6 * radius, distance))
    surface.height -= 0.015 * smooth(0.008, -0.008, distance)
