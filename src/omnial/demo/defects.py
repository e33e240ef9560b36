"""Defects that several products share, drawn into a `Surface`.

Each takes the canvas of the product's frame, so that positions and sizes are in product units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from omnial.demo.canvas import TURN, Canvas, Field, Point, along, ridge, smooth, walk
from omnial.demo.surface import Colour, Surface

Line = tuple[Point, float, float]
"""Start, heading and length."""
Share = Field | float
"""Coverage of the material that a defect can have; 1 is all of it."""


@dataclass(frozen=True)
class Defect:
    """What is wrong with one product."""

    kind: str  # name of the defect kind, or `good`
    severity: float  # 0 barely visible, 1 obvious
    rng: Generator  # source of its shape and position, apart from that of the product

    def between(self, mild: float, strong: float) -> float:
        """A value that goes from `mild` to `strong` with the severity, varied by a tenth."""
        value = mild + (strong - mild) * self.severity
        return float(value * self.rng.uniform(0.9, 1.1))

    def point(self, half: float) -> Point:
        """A point in the central square that reaches to +-half."""
        return self.rng.uniform(-half, half), self.rng.uniform(-half, half)

    def near(self, point: Point, spread: float) -> Point:
        """A point at a normal distance along both axes."""
        return point[0] + self.rng.normal(0.0, spread), point[1] + self.rng.normal(0.0, spread)

    def line(self, half: float, mild: float, strong: float) -> Line:
        """A line whose centre lies in the central square."""
        heading, length = self.rng.uniform(0.0, TURN), self.between(mild, strong)
        return along(self.point(half), heading, -0.5 * length), heading, length


def scratch(
    surface: Surface, canvas: Canvas, defect: Defect, half: float, bare: Colour, within: Share = 1.0
) -> None:
    """One to three nearly parallel grooves that bare another colour."""
    rng = defect.rng
    start, heading, length = defect.line(half, 0.5, 1.0)
    for stroke in range(int(rng.integers(1, 4))):
        part = length * (1.0 if stroke == 0 else rng.uniform(0.3, 0.8))
        points = walk(rng, start, heading + rng.normal(0.0, 0.05), part, 10, 0.07)
        peak = defect.between(0.008, 0.017) * (1.0 if stroke == 0 else 0.7)
        profile = np.sin(np.linspace(0.12, np.pi - 0.05, len(points))) ** 0.5
        distance = canvas.polyline(points, [peak * float(p) for p in profile])
        cover = canvas.cover(distance, soft=0.006) * within
        surface.paint(cover * defect.between(0.55, 0.95), bare)
        rim = np.maximum(0.012 - np.abs(distance), 0.0)
        surface.height += (0.6 * within) * (rim - 1.5 * np.maximum(-distance, 0.0))
        start = defect.near(start, 0.05)


def dent(surface: Surface, canvas: Canvas, defect: Defect, half: float, within: Field) -> None:
    """A smooth hollow with a slightly raised rim: shading alone."""
    radius = defect.between(0.09, 0.2)
    distance = canvas.blob(defect.rng, defect.point(half), radius, 0.08)
    reach = np.clip(1.0 + distance / np.float32(radius), 0.0, None)
    hollow = np.exp(-((reach / 0.62) ** 4))
    depth = radius * defect.between(0.3, 0.62)
    surface.height += depth * (0.12 * ridge(reach - 1.0, 0.22) - hollow) * within


def stain(
    surface: Surface,
    canvas: Canvas,
    defect: Defect,
    half: float,
    colour: Colour,
    radius: float,
    within: Share = 1.0,
) -> None:
    """A spilt liquid: an irregular patch with a darker dried edge and a few splashes.

    It multiplies the surface's colour with `colour`; `radius` is that of the strongest stain.
    """
    rng = defect.rng
    centre = defect.point(half)
    size = radius * defect.between(0.36, 1.0)
    distance = canvas.blob(rng, centre, size, 0.22)
    distance += 0.12 * size * canvas.cloud(rng, 1.6 / size)
    for _ in range(int(rng.integers(1, 6))):
        drop = along(centre, rng.uniform(0.0, TURN), size * rng.uniform(1.3, 1.9))
        splash = canvas.blob(rng, drop, size * rng.uniform(0.06, 0.18), 0.12)
        distance = np.minimum(distance, splash)
    cover = canvas.cover(distance, soft=0.03) * within
    strength = defect.between(0.4, 0.85)
    surface.tint(np.minimum(cover * (strength + 0.35 * ridge(distance + 0.02, 0.022)), 1.0), colour)


def crack(
    surface: Surface, canvas: Canvas, defect: Defect, line: Line, within: Share = 1.0
) -> None:
    """A dark jagged gap along a line, with up to three side branches."""
    rng = defect.rng
    start, heading, length = line
    width = defect.between(0.008, 0.017)
    main = walk(rng, start, heading, length, 12, 0.33)
    distance = canvas.polyline(main, [width * (1.0 - 0.75 * i / 12) for i in range(13)])
    for _ in range(int(rng.integers(0, 4))):
        knot = int(rng.integers(2, 10))
        turn = heading + float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 1.1)
        branch = walk(rng, main[knot], turn, length * rng.uniform(0.15, 0.4), 5, 0.3)
        radii = [0.6 * width * (1.0 - 0.8 * i / 5) for i in range(6)]
        distance = np.minimum(distance, canvas.polyline(branch, radii))
    gap = canvas.cover(distance, soft=0.004) * within
    surface.albedo *= (1.0 - defect.between(0.6, 0.92) * gap)[..., None]
    surface.gloss *= 1.0 - gap
    surface.height -= 0.4 * np.maximum(0.02 - np.maximum(distance, 0.0), 0.0) * within


def contamination(surface: Surface, canvas: Canvas, defect: Defect, half: float) -> None:
    """Foreign matter that lies on the product: swarf, crumbs or a hair, with its shadow."""
    rng = defect.rng
    centre = defect.point(half)
    form = str(rng.choice(["swarf", "crumbs", "hair"]))
    if form == "hair":
        points = walk(rng, centre, rng.uniform(0.0, TURN), defect.between(0.55, 1.0), 16, 0.35)
        distance = canvas.polyline(points, defect.between(0.009, 0.014))
        lay_on(surface, canvas, distance, (38, 28, 24), 0.1)
        return
    distance = np.full_like(canvas.x, np.inf)
    for _ in range(int(rng.integers(2, 6))):
        spot = defect.near(centre, 0.1)
        size = defect.between(0.022, 0.05)
        if form == "crumbs":
            piece = canvas.blob(rng, spot, size, 0.25)
        else:
            curl = walk(rng, spot, rng.uniform(0.0, TURN), 5.0 * size, 8, 0.5)
            piece = canvas.polyline(curl, 0.3 * size)
        distance = np.minimum(distance, piece)
    if form == "crumbs":
        lay_on(surface, canvas, distance, (62, 44, 30), 0.1)
    else:
        lay_on(surface, canvas, distance, (150, 152, 156), 0.5)


def lay_on(
    surface: Surface, canvas: Canvas, distance: Field, colour: Colour, gloss: float = 0.0
) -> None:
    """Something of small thickness that lies on the surface, rounded and with its shadow."""
    surface.put(canvas, canvas.cover(distance), colour, gloss, (0.022, 0.014, 0.6))
    thick = np.clip(-distance, 0.0, 0.03)
    surface.height += (0.02 + 0.8 * thick) * smooth(0.02, -0.02, distance)
