"""Denim-like cloth: light weft under blue warp, woven two over, one under."""

import numpy as np

from omnial.demo.canvas import (
    Canvas,
    Field,
    blob,
    cloud,
    polyline,
    smooth,
    value_noise,
    walk,
)
from omnial.demo.defects import Defect, lay_on, stain
from omnial.demo.surface import Surface, linear, varied

KINDS = ("hole", "stain", "thread")

_PITCH = 2.0 / 36


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect | None) -> Surface:
    """Draw the cloth; every draw from `rng` happens with and without the defect."""
    cloth = canvas.posed(rng, turn=0.04, shift=0.5, zoom=0.03)
    u = cloth.x / _PITCH + 0.5 * cloud(canvas, rng, 1.2, 2)
    v = cloth.y / _PITCH + 0.5 * cloud(canvas, rng, 1.2, 2)
    warp, weft = varied(rng, (62, 84, 132), 0.04), varied(rng, (172, 180, 196), 0.03)
    i, j = np.floor(u), np.floor(v)
    across_u, across_v = 2.0 * (u - i) - 1.0, 2.0 * (v - j) - 1.0
    over = (i + j) % 3.0
    wave = np.cos(np.float32(2.0 * np.pi / 3.0) * (over - 0.5))
    high_warp = np.sqrt(np.maximum(1.0 - across_u**2, 0.0)) + 0.8 * wave + 0.25
    high_weft = np.sqrt(np.maximum(1.0 - across_v**2, 0.0)) - 0.8 * wave
    on_top = smooth(-0.12, 0.12, high_warp - high_weft)

    surface = Surface.plain(canvas, (0, 0, 0))
    surface.albedo[:] = linear(weft)
    surface.paint(on_top, warp)
    warps, wefts = rng.normal(0.0, 1.0, 211), rng.normal(0.0, 1.0, 211)
    shade = on_top * _of_thread(i, warps) + (1.0 - on_top) * _of_thread(j, wefts)
    surface.mottle(shade, 0.09)
    surface.mottle(value_noise(u * 6.0, v * 1.5, rng), 0.12)
    surface.mottle(cloud(canvas, rng, 1.5, 2), 0.05)
    top = np.maximum(high_warp, high_weft)
    surface.height += 0.011 * top
    surface.dim(smooth(0.7, 0.1, top), 0.65)

    if defect is not None and defect.kind == "hole":
        _hole(surface, canvas, defect)
    elif defect is not None and defect.kind == "stain":
        stain(surface, canvas, defect, 0.6, (96, 84, 60), 0.24)
    elif defect is not None and defect.kind == "thread":
        _loose_thread(surface, canvas, defect)
    return surface


def _of_thread(index: Field, values: Field) -> Field:
    """The value of each pixel's thread."""
    return values.astype(np.float32)[index.astype(np.int32) % len(values)]


def _hole(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """A torn hole: dark table below, thinned cloth around, ends of threads that reach in."""
    rng = defect.rng
    centre, radius = defect.place(0.6), defect.between(0.07, 0.17)
    distance = blob(canvas, rng, centre, radius, 0.2)
    surface.height -= 0.03 * smooth(0.03, -0.01, distance)
    surface.paint(canvas.cover(distance, soft=0.01), (26, 25, 27))
    for _ in range(int(rng.integers(5, 11))):
        angle = rng.uniform(0.0, 2.0 * np.pi)
        rim = (
            centre[0] + radius * 1.05 * float(np.cos(angle)),
            centre[1] + radius * 1.05 * float(np.sin(angle)),
        )
        end = walk(rng, rim, angle + np.pi + rng.normal(0.0, 0.5), radius * 0.7, 5, 0.3)
        lay_on(surface, canvas, polyline(canvas, end, [0.008] * 6), (178, 186, 202), 0.0)


def _loose_thread(surface: Surface, canvas: Canvas, defect: Defect) -> None:
    """A twisted thread lying across the cloth in loops."""
    rng = defect.rng
    start = defect.place(0.6)
    inwards = float(np.arctan2(-start[1], -start[0])) + rng.normal(0.0, 0.6)
    points = walk(rng, start, inwards, defect.between(0.8, 1.9), 26, 0.38)
    distance = polyline(canvas, points, [defect.between(0.012, 0.019)] * len(points))
    pale = defect.between(200.0, 235.0)
    lay_on(surface, canvas, distance, (pale, pale * 0.97, pale * 0.9), 0.0)
