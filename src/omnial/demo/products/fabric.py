"""Denim-like cloth: light weft under blue warp, woven two over, one under."""

import numpy as np

from omnial.demo.canvas import TURN, Canvas, along, smooth, value_noise, walk
from omnial.demo.defects import Defect, lay_on, stain
from omnial.demo.surface import Surface, varied

KINDS = ("hole", "stain", "thread")

_PITCH = 2.0 / 36
_THREADS = 211


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect) -> Surface:
    """Draw the cloth."""
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
        _hole(surface, canvas, defect)
    elif defect.kind == "stain":
        stain(surface, canvas, defect, 0.6, (96, 84, 60), 0.24)
    elif defect.kind == "thread":
        _loose_thread(surface, canvas, defect)
    return surface


def _hole(surface: Surface, canvas: Canvas, defect: Defect) -> None:
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
