"""Defects that several products share, drawn into a `Surface`.

Each takes the canvas of the product's frame, so that positions and sizes are in product units, and
a `Defect`, whose `severity` in [0, 1] goes from barely visible to obvious.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from omnial.demo.canvas import (
    Canvas,
    Field,
    Point,
    blob,
    cloud,
    polyline,
    smooth,
    walk,
)
from omnial.demo.surface import Colour, Surface, cast_shadow


@dataclass(frozen=True)
class Defect:
    """What is wrong with one product.

    Attributes:
        kind: Name of the defect kind.
        severity: 0 barely visible, 1 obvious.
        rng: Source of its shape and place, apart from that of the product.
    """

    kind: str
    severity: float
    rng: Generator

    def between(self, mild: float, strong: float) -> float:
        """A value that goes from `mild` to `strong` with the severity, varied by a tenth."""
        value = mild + (strong - mild) * self.severity
        return float(value * self.rng.uniform(0.9, 1.1))

    def place(self, half: float) -> Point:
        """A point in the central square that reaches to +-half."""
        return self.rng.uniform(-half, half), self.rng.uniform(-half, half)


def scratch(
    surface: Surface,
    canvas: Canvas,
    defect: Defect,
    half: float,
    bared: Colour,
    within: Field | None = None,
) -> None:
    """One to three nearly parallel grooves that bare another colour.

    Args:
        surface: Changed in place.
        canvas: The product's frame.
        defect: Severity and shape.
        half: Grooves start within this central square.
        bared: Colour of what the groove lays bare.
        within: Coverage of the material that can be scratched; everywhere if None.
    """
    material = np.float32(1.0) if within is None else within
    rng = defect.rng
    heading = rng.uniform(0.0, 2.0 * np.pi)
    length = defect.between(0.5, 1.0)
    cx, cy = defect.place(half)
    start = (cx - 0.5 * length * float(np.cos(heading)), cy - 0.5 * length * float(np.sin(heading)))
    for stroke in range(int(rng.integers(1, 4))):
        part = length * (1.0 if stroke == 0 else rng.uniform(0.3, 0.8))
        points = walk(rng, start, heading + rng.normal(0.0, 0.05), part, 10, 0.07)
        peak = defect.between(0.008, 0.017) * (1.0 if stroke == 0 else 0.7)
        profile = np.sin(np.linspace(0.12, np.pi - 0.05, len(points))) ** 0.5
        distance = polyline(canvas, points, [peak * float(p) for p in profile])
        cover = canvas.cover(distance, soft=0.006) * material
        surface.paint(cover * np.float32(defect.between(0.55, 0.95)), bared)
        surface.height += (0.6 * material) * (
            np.maximum(0.012 - np.abs(distance), 0.0) - 1.5 * np.maximum(-distance, 0.0)
        )
        start = (start[0] + rng.normal(0.0, 0.05), start[1] + rng.normal(0.0, 0.05))


def dent(surface: Surface, canvas: Canvas, defect: Defect, half: float, within: Field) -> None:
    """A smooth hollow with a slightly raised rim in the material `within`: shading alone."""
    radius = defect.between(0.09, 0.2)
    distance = blob(canvas, defect.rng, defect.place(half), radius, 0.08)
    reach = np.clip(1.0 + distance / np.float32(radius), 0.0, None)
    hollow = np.exp(-((reach / 0.62) ** 4))
    rim = np.exp(-(((reach - 1.0) / 0.22) ** 2))
    depth = np.float32(radius * defect.between(0.3, 0.62))
    surface.height += depth * (0.12 * rim - hollow) * within


def stain(
    surface: Surface,
    canvas: Canvas,
    defect: Defect,
    half: float,
    colour: Colour,
    radius: float,
    within: Field | None = None,
) -> None:
    """A spilt liquid: an irregular patch with a darker dried edge and a few splashes.

    Args:
        surface: Changed in place.
        canvas: The product's frame.
        defect: Severity and shape.
        half: Its centre lies within this central square.
        colour: What it multiplies the surface's colour with.
        radius: Mean radius of the strongest stain.
        within: Coverage of the material that takes it; everywhere if None.
    """
    rng = defect.rng
    centre = defect.place(half)
    size = radius * defect.between(0.36, 1.0)
    distance = blob(canvas, rng, centre, size, 0.22)
    distance += np.float32(0.12 * size) * cloud(canvas, rng, 1.6 / size, 2)
    for _ in range(int(rng.integers(1, 6))):
        angle, far = rng.uniform(0.0, 2.0 * np.pi), size * rng.uniform(1.3, 1.9)
        drop = (centre[0] + far * float(np.cos(angle)), centre[1] + far * float(np.sin(angle)))
        distance = np.minimum(
            distance, blob(canvas, rng, drop, size * rng.uniform(0.06, 0.18), 0.12)
        )
    cover = canvas.cover(distance, soft=0.03)
    if within is not None:
        cover *= within
    ring = np.exp(-(((distance + 0.02) / 0.022) ** 2))
    strength = defect.between(0.4, 0.85)
    surface.tint(np.minimum(cover * (strength + 0.35 * ring), 1.0), colour)


def crack_lines(
    rng: Generator, start: Point, heading: float, length: float, width: float
) -> list[tuple[list[Point], list[float]]]:
    """A jagged main line with up to three side branches: points and half widths of each."""
    main = walk(rng, start, heading, length, 12, 0.33)
    lines = [(main, [width * (1.0 - 0.75 * i / 12) for i in range(13)])]
    for _ in range(int(rng.integers(0, 4))):
        knot = int(rng.integers(2, 10))
        turn = heading + float(rng.choice([-1.0, 1.0])) * rng.uniform(0.5, 1.1)
        branch = walk(rng, main[knot], turn, length * rng.uniform(0.15, 0.4), 5, 0.3)
        lines.append((branch, [0.6 * width * (1.0 - 0.8 * i / 5) for i in range(6)]))
    return lines


def crack(
    surface: Surface,
    canvas: Canvas,
    defect: Defect,
    start: Point,
    heading: float,
    length: float,
    within: Field | None = None,
) -> None:
    """A dark jagged gap whose edges stand at slightly different heights.

    Args:
        surface: Changed in place.
        canvas: The product's frame.
        defect: Severity and shape.
        start: Where it starts.
        heading: Direction in radians.
        length: Length of its main line.
        within: Coverage of the material that can crack; everywhere if None.
    """
    width = defect.between(0.008, 0.017)
    distance = np.full_like(canvas.x, np.inf)
    for points, radii in crack_lines(defect.rng, start, heading, length, width):
        distance = np.minimum(distance, polyline(canvas, points, radii))
    material = np.float32(1.0) if within is None else within
    gap = canvas.cover(distance, soft=0.004) * material
    surface.albedo *= (1.0 - np.float32(defect.between(0.6, 0.92)) * gap)[..., None]
    surface.gloss *= 1.0 - gap
    surface.height -= 0.4 * np.maximum(0.02 - np.maximum(distance, 0.0), 0.0) * material


def contamination(surface: Surface, canvas: Canvas, defect: Defect, half: float) -> None:
    """Foreign matter that lies on the product: swarf, crumbs or a hair, with its shadow."""
    rng = defect.rng
    centre = defect.place(half)
    form = str(rng.choice(["swarf", "crumbs", "hair"]))
    if form == "hair":
        points = walk(rng, centre, rng.uniform(0, 2 * np.pi), defect.between(0.55, 1.0), 16, 0.35)
        distance = polyline(canvas, points, [defect.between(0.009, 0.014)] * len(points))
        colour: Colour = (38, 28, 24)
    else:
        distance = np.full_like(canvas.x, np.inf)
        for _ in range(int(rng.integers(2, 6))):
            spot = (centre[0] + rng.normal(0.0, 0.1), centre[1] + rng.normal(0.0, 0.1))
            size = defect.between(0.022, 0.05)
            if form == "crumbs":
                piece = blob(canvas, rng, spot, size, 0.25)
            else:
                curl = walk(rng, spot, rng.uniform(0, 2 * np.pi), 5.0 * size, 8, 0.5)
                piece = polyline(canvas, curl, [0.3 * size] * len(curl))
            distance = np.minimum(distance, piece)
        colour = (150, 152, 156) if form == "swarf" else (62, 44, 30)
    lay_on(surface, canvas, distance, colour, 0.5 if form == "swarf" else 0.1)


def lay_on(surface: Surface, canvas: Canvas, distance: Field, colour: Colour, gloss: float) -> None:
    """Something of small thickness that lies on the surface, rounded and with its shadow."""
    cover = canvas.cover(distance)
    surface.dim(cast_shadow(canvas, cover, 0.022, 0.014) * (1.0 - cover), 0.6)
    surface.paint(cover, colour, gloss)
    surface.expose(cover)
    thick = np.clip(-distance, 0.0, 0.03)
    surface.height += (0.02 + 0.8 * thick) * smooth(0.02, -0.02, distance)
