"""A blister pack: twelve pink tablets with a score line under clear pockets, on foil."""

import numpy as np

from omnial.demo.canvas import ORIGIN, TURN, Canvas, norm, ridge, smooth
from omnial.demo.defects import Defect, contamination
from omnial.demo.surface import Colour, Surface, varied

KINDS = ("contamination", "crack", "missing_part")

_POCKETS = [(-0.54 + 0.54 * column, -0.66 + 0.44 * row) for row in range(4) for column in range(3)]
_POCKET = 0.2
_TABLET = 0.15


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect) -> Surface:
    """Draw the pack."""
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
