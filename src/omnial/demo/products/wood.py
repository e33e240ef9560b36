"""Oak veneer with its grain along the picture's height."""

import numpy as np

from omnial.demo.canvas import Canvas, smooth, value_noise
from omnial.demo.defects import Defect, scratch, stain
from omnial.demo.surface import Surface, varied

KINDS = ("hole", "scratch", "stain")


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect) -> Surface:
    """Draw the veneer."""
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
