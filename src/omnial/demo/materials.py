"""The materials of the production line: cloth, terrazzo and veneer."""

import numpy as np
from numpy.random import Generator

from omnial.demo.canvas import TURN, Canvas, Field, along, smooth, value_noise, walk
from omnial.demo.defects import Defect, crack, lay_on, scratch, stain
from omnial.demo.surface import Surface, varied

_PITCH = 2.0 / 36
_THREADS = 211
_STONES = (
    *(((138, 134, 128), 11.0), ((182, 142, 118), 11.0)),
    *(((112, 126, 130), 17.6), ((228, 224, 216), 17.6)),
)
"""Colour of the stones, and cells across the tile that hold one of them at most."""
_STONE_GRID = 64


def fabric(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """Denim-like cloth: light weft under blue warp, woven two over, one under."""
    cloth = canvas.posed(rng, turn=0.04, shift=0.5, zoom=0.03)
    u = cloth.x / _PITCH + 0.5 * canvas.cloud(rng, 1.2)
    v = cloth.y / _PITCH + 0.5 * canvas.cloud(rng, 1.2)
    warp, weft = varied(rng, (62, 84, 132), 0.04), varied(rng, (172, 180, 196), 0.03)
    i, j = np.floor(u), np.floor(v)
    across_u, across_v = 2.0 * (u - i) - 1.0, 2.0 * (v - j) - 1.0
    wave = np.cos(TURN / 3.0 * ((i + j) % 3.0 - 0.5))
    high_warp = np.sqrt(np.maximum(1.0 - across_u**2, 0.0)) + 0.8 * wave + 0.25
    high_weft = np.sqrt(np.maximum(1.0 - across_v**2, 0.0)) - 0.8 * wave
    on_top = smooth(-0.12, 0.12, high_warp - high_weft)

    surface = Surface.plain(canvas, weft)
    surface.paint(on_top, warp)
    warps, wefts = rng.normal(0.0, 1.0, (2, _THREADS)).astype(np.float32)
    warps, wefts = warps[i.astype(np.int32) % _THREADS], wefts[j.astype(np.int32) % _THREADS]
    surface.mottle(on_top * warps + (1.0 - on_top) * wefts, 0.09)
    surface.mottle(value_noise(u * 6.0, v * 1.5, rng), 0.12)
    surface.mottle(canvas.cloud(rng, 1.5), 0.05)
    top = np.maximum(high_warp, high_weft)
    surface.height += 0.011 * top
    surface.dim(smooth(0.7, 0.1, top), 0.65)

    if defect.kind == "hole":
        _torn_hole(surface, canvas, defect)
    elif defect.kind == "stain":
        stain(surface, canvas, defect, 0.6, (96, 84, 60), 0.24)
    elif defect.kind == "thread":
        _loose_thread(surface, canvas, defect)
    return surface


def _torn_hole(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """A torn hole: dark table below, thinned cloth around, ends of threads that reach in."""
    rng = defect.rng
    centre, radius = defect.point(0.6), defect.between(0.07, 0.17)
    distance = canvas.blob(rng, centre, radius, 0.2)
    surface.height -= 0.03 * smooth(0.03, -0.01, distance)
    surface.paint(canvas.cover(distance, soft=0.01), (26, 25, 27))
    for _ in range(int(rng.integers(5, 11))):
        angle = rng.uniform(0.0, TURN)
        rim = along(centre, angle, radius * 1.05)
        end = walk(rng, rim, angle + np.pi + rng.normal(0.0, 0.5), radius * 0.7, 5, 0.3)
        lay_on(surface, canvas, canvas.polyline(end, 0.008), (178, 186, 202))


def _loose_thread(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """A twisted thread lying across the cloth in loops."""
    rng = defect.rng
    start = defect.point(0.6)
    inwards = float(np.arctan2(-start[1], -start[0])) + rng.normal(0.0, 0.6)
    points = walk(rng, start, inwards, defect.between(0.8, 1.9), 26, 0.38)
    distance = canvas.polyline(points, defect.between(0.012, 0.019))
    pale = defect.between(200.0, 235.0)
    lay_on(surface, canvas, distance, (pale, pale * 0.97, pale * 0.9))


def tile(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """A terrazzo tile: stone chips of four colours in pale cement, polished."""
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


def _stones(canvas: Canvas, rng: Generator, frequency: float) -> Field:
    """Signed distance, in cells, to convex stones: at most one in each cell of a rotated grid."""
    centre = (rng.uniform(-1, 1), rng.uniform(-1, 1))
    grid = canvas.moved(centre, rng.uniform(0, 1.5), 1 / frequency)
    shape = (_STONE_GRID, _STONE_GRID)
    column, row = np.floor(grid.x), np.floor(grid.y)
    at = (row.astype(np.int32) % _STONE_GRID) * _STONE_GRID + column.astype(np.int32) % _STONE_GRID

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


def wood(canvas: Canvas, rng: Generator, defect: Defect) -> Surface:
    """Oak veneer with its grain along the picture's height."""
    board = canvas.posed(rng, turn=0.04, shift=0.0, zoom=0.05)
    x = board.x + 0.13 * value_noise(board.x * 0.8, board.y * 0.45, rng)
    x += 0.012 * value_noise(board.x * 6.0, board.y * 1.5, rng)
    years = x * rng.uniform(7.5, 9.0)
    # Wet and dry years: rings of unequal width, each still wider than nothing.
    years += 0.4 * value_noise(years * 0.8, np.zeros_like(years), rng)
    part = years - np.floor(years)
    late = smooth(0.3, 0.9, part) * smooth(1.0, 0.9, part)

    surface = Surface.plain(canvas, varied(rng, (204, 164, 118), 0.03), 0.05)
    surface.paint(0.6 * late, varied(rng, (166, 118, 76), 0.03))
    surface.mottle(value_noise(x * 110.0, board.y * 2.0, rng), 0.075)
    surface.mottle(value_noise(x * 40.0, board.y * 1.0, rng), 0.06)
    surface.mottle(value_noise(x * 2.0, board.y * 0.7, rng), 0.05)
    pores = smooth(0.9, 1.4, value_noise(x * 105.0, board.y * 6.0, rng)) * (1.0 - 0.7 * late)
    surface.mottle(-pores, 0.4)
    surface.height -= 0.003 * pores

    if defect.kind == "hole":
        _worm_holes(surface, canvas, defect)
    elif defect.kind == "scratch":
        scratch(surface, canvas, defect, 0.5, (238, 214, 178))
    elif defect.kind == "stain":
        stain(surface, canvas, defect, 0.55, (104, 92, 96), 0.24)
    return surface


def _worm_holes(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """One to four bored holes with a splintered pale rim."""
    rng = defect.rng
    centre = defect.point(0.6)
    for number in range(1 + int(rng.integers(0, 4))):
        spot = centre if number == 0 else defect.near(centre, 0.2)
        radius = defect.between(0.045, 0.09) * (1.0 if number == 0 else rng.uniform(0.5, 0.9))
        distance = canvas.blob(rng, spot, radius, 0.1) + 0.006 * canvas.cloud(rng, 30.0, 1)
        surface.paint(smooth(0.03, 0.0, distance) * 0.6, (226, 196, 150))
        surface.height -= 0.03 * smooth(0.015, -0.02, distance)
        surface.paint(canvas.cover(distance, soft=0.01), (40, 25, 15), 0.0)
