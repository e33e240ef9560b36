"""A blister pack: twelve pink tablets with a score line under clear pockets, on foil."""

import numpy as np

from omnial.demo.canvas import Canvas, Point, blob, box, cloud, disc, norm, smooth
from omnial.demo.defects import Defect, contamination
from omnial.demo.surface import Colour, Surface, cast_shadow, close_up, varied

KINDS = ("contamination", "crack", "missing_part")

_PLACES: tuple[Point, ...] = tuple(
    (-0.54 + 0.54 * column, -0.66 + 0.44 * row) for row in range(4) for column in range(3)
)
_POCKET = 0.2
_TABLET = 0.15


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect | None) -> Surface:
    """Draw the pack; every draw from `rng` happens with and without the defect."""
    surface = Surface.plain(canvas, varied(rng, (58, 74, 104), 0.05), 0.02)
    surface.mottle(cloud(canvas, rng, 35.0, 2), 0.06)
    pack = canvas.posed(rng, turn=0.04, shift=0.025, zoom=0.015)
    edge = box(pack, (0.0, 0.0), (0.87, 0.9), 0.09)
    cover = pack.cover(edge)
    surface.dim(cast_shadow(canvas, cover, 0.03, 0.02) * (1.0 - cover), 0.6)
    surface.paint(cover, varied(rng, (168, 172, 178), 0.02), 0.3)
    emboss = np.sin(np.float32(58.0) * (pack.x + pack.y)) * np.sin(
        np.float32(58.0) * (pack.x - pack.y)
    )
    wrinkle = cloud(pack, rng, 2.5, 2)

    # Distance to the nearest pocket's centre, along each axis of their grid.
    dx = np.abs((pack.x + 0.27) % 0.54 - 0.27)
    dy = np.abs(pack.y % 0.44 - 0.22)
    flat = smooth(-0.02, 0.02, norm(dx, dy) - np.float32(_POCKET))
    surface.height += cover * flat * (0.0035 * emboss + 0.012 * wrinkle)
    surface.height += 0.02 * smooth(0.0, -0.03, edge)

    colour = varied(rng, (226, 166, 158), 0.025)
    hit: list[int] = []
    if defect is not None and defect.kind in ("missing_part", "crack"):
        count = 1 + int(defect.kind == "missing_part" and defect.severity > 0.7)
        hit = defect.rng.choice(len(_PLACES), count, replace=False).tolist()
    for i, centre in enumerate(_PLACES):
        shift, turn = rng.uniform(-0.018, 0.018, 2), rng.uniform(-0.5, 0.5)
        view = close_up(surface, pack, centre, _POCKET + 0.05)
        if view is None:
            continue
        part, place = view
        _pocket(part, place, centre)
        at = (centre[0] + float(shift[0]), centre[1] + float(shift[1]))
        if i not in hit:
            _tablet(part, place.moved(at, turn), colour, None)
        elif defect is not None and defect.kind == "crack":
            _tablet(part, place.moved(at, turn), colour, defect)
        _film(part, place, centre)
    if defect is not None and defect.kind == "contamination":
        contamination(surface, pack, defect, 0.6)
    return surface


def _pocket(surface: Surface, pack: Canvas, centre: Point) -> None:
    """The hollow that a tablet lies in."""
    distance = disc(pack, centre, _POCKET)
    surface.paint(pack.cover(distance) * 0.5, (122, 126, 132), 0.12)
    surface.dim(np.exp(-(((distance + 0.012) / 0.016) ** 2)), 0.5)


def _tablet(surface: Surface, tablet: Canvas, colour: Colour, broken: Defect | None) -> None:
    """A domed tablet; `broken` splits it along a jagged line and takes part of it away."""
    distance = disc(tablet, (0.0, 0.0), _TABLET)
    if broken is not None:
        rng = broken.rng
        rotated = tablet.moved((0.0, 0.0), rng.uniform(0.0, 2.0 * np.pi))
        jag = 0.025 * cloud(rotated, rng, 8.0, 2)
        cut = rotated.x - (0.09 - broken.between(0.0, 0.09)) + jag
        crumbs = np.full_like(distance, np.inf)
        for _ in range(int(rng.integers(2, 5))):
            spot = (rng.uniform(0.08, 0.15), rng.uniform(-0.1, 0.1))
            crumbs = np.minimum(crumbs, blob(rotated, rng, spot, rng.uniform(0.014, 0.03), 0.2))
        distance = np.minimum(np.maximum(distance, cut), np.maximum(crumbs, distance - 0.03))
    cover = tablet.cover(distance)
    surface.dim(cast_shadow(tablet, cover, 0.028, 0.02) * (1.0 - cover), 0.55)
    surface.paint(cover, colour, 0.06)
    surface.expose(cover)
    surface.height += 0.045 * smooth(0.0, -0.05, distance)
    score = np.exp(-((tablet.y / 0.013) ** 2)) * smooth(-0.01, -0.03, distance)
    surface.height -= 0.02 * score
    surface.dim(score, 0.25)


def _film(surface: Surface, pack: Canvas, centre: Point) -> None:
    """The clear pocket above: a bright rim and a reflection of the lamp."""
    distance = disc(pack, centre, _POCKET)
    rim = np.exp(-((distance / 0.011) ** 2))
    shine = pack.cover(
        np.maximum(
            np.abs(distance + 0.045) - 0.008,
            norm(pack.x - (centre[0] - 0.11), pack.y - (centre[1] - 0.11)) - 0.085,
        ),
        soft=0.012,
    )
    surface.paint(np.clip(0.35 * rim + 0.6 * shine, 0.0, 1.0), (244, 246, 248))
