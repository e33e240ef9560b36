"""Coordinates, signed distances and smooth noise: what every picture is drawn with.

A canvas spans [-1, 1] along both axes (x to the right, y down), whatever its resolution. A shape
is a signed distance (negative inside, canvas units), so that its edge is anti-aliased by
`Canvas.cover` without supersampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.floating[Any]]
"""A map over a canvas, float32 at run time."""
Point = tuple[float, float]

_LATTICE = 64
_WRAP = _LATTICE - 1


@dataclass(frozen=True)
class Canvas:
    """Pixel centres of a square picture in some frame of coordinates.

    Attributes:
        x: (N, N) float32, to the right.
        y: (N, N) float32, downwards.
        pixel: Edge of a pixel in the same units.
    """

    x: Field
    y: Field
    pixel: float

    @classmethod
    def of_size(cls, size: int) -> "Canvas":
        """A canvas of size x size pixels that spans [-1, 1]."""
        axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
        x, y = np.meshgrid(axis, axis)
        return cls(x, y, 2.0 / size)

    @property
    def size(self) -> int:
        """Pixels along an edge."""
        return len(self.x)

    def moved(self, centre: Point, angle: float, scale: float = 1.0) -> "Canvas":
        """The same pixels in the frame of a part placed at `centre`, rotated and scaled.

        Args:
            centre: Where the part's origin lies in this canvas.
            angle: Turn of the part in radians, clockwise on screen.
            scale: Size of the part's unit in this canvas's units.
        """
        cos, sin = float(np.cos(angle)) / scale, float(np.sin(angle)) / scale
        x, y = self.x - np.float32(centre[0]), self.y - np.float32(centre[1])
        return Canvas(
            (x * np.float32(cos) + y * np.float32(sin)),
            (y * np.float32(cos) - x * np.float32(sin)),
            self.pixel / scale,
        )

    def crop(self, centre: Point, reach: float) -> tuple[slice, slice] | None:
        """Rows and columns of the pixels within `reach` of a point along both axes.

        Small parts are drawn on this crop alone; None if it lies outside the picture.
        """
        dx, dy = np.abs(self.x - np.float32(centre[0])), np.abs(self.y - np.float32(centre[1]))
        inside = np.maximum(dx, dy) < np.float32(reach)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if len(rows) < 2 or len(columns) < 2:
            return None
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def posed(self, rng: Generator, turn: float, shift: float, zoom: float) -> "Canvas":
        """The frame of a part whose place, turn (radians) and size vary by up to these amounts."""
        centre = (rng.uniform(-shift, shift), rng.uniform(-shift, shift))
        return self.moved(centre, rng.uniform(-turn, turn), 1.0 + rng.uniform(-zoom, zoom))

    def cover(self, distance: Field, soft: float = 0.0) -> Field:
        """Share of each pixel inside a shape, (N, N) in [0, 1].

        Args:
            distance: Signed distance to the shape, negative inside.
            soft: Extra width of the edge in canvas units.
        """
        width = np.float32(self.pixel + soft)
        share: Field = np.clip(np.float32(0.5) - distance / width, 0.0, 1.0)
        return share


def norm(x: Field, y: Field) -> Field:
    """Length of (x, y); `np.hypot` guards against overflow and takes several times as long."""
    length: Field = np.sqrt(x * x + y * y)
    return length


def smooth(low: float, high: float, value: Field) -> Field:
    """Cubic step from 0 at `low` to 1 at `high` (either may be the larger)."""
    t: Field = np.clip((value - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def disc(canvas: Canvas, centre: Point, radius: float) -> Field:
    """Signed distance to a disc."""
    x, y = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    return norm(x, y) - np.float32(radius)


def box(canvas: Canvas, centre: Point, half: Point, corner: float = 0.0) -> Field:
    """Signed distance to a rectangle of half width and height `half` with round corners."""
    dx = np.abs(canvas.x - np.float32(centre[0])) - np.float32(half[0] - corner)
    dy = np.abs(canvas.y - np.float32(centre[1])) - np.float32(half[1] - corner)
    outside = norm(np.maximum(dx, 0.0), np.maximum(dy, 0.0))
    distance: Field = outside + np.minimum(np.maximum(dx, dy), 0.0) - np.float32(corner)
    return distance


def polyline(canvas: Canvas, points: Sequence[Point], radii: Sequence[float]) -> Field:
    """Signed distance to a stroke through `points` whose half width goes through `radii`."""
    distance = np.full_like(canvas.x, np.inf)
    for (x0, y0), (x1, y1), r0, r1 in zip(
        points[:-1], points[1:], radii[:-1], radii[1:], strict=True
    ):
        dx, dy = x1 - x0, y1 - y0
        px, py = canvas.x - np.float32(x0), canvas.y - np.float32(y0)
        length = max(dx * dx + dy * dy, 1e-12)
        t = np.clip((px * np.float32(dx) + py * np.float32(dy)) / np.float32(length), 0.0, 1.0)
        gap = norm(px - t * np.float32(dx), py - t * np.float32(dy))
        np.minimum(distance, gap - (np.float32(r0) + t * np.float32(r1 - r0)), out=distance)
    return distance


def sample(picture: Field, canvas: Canvas) -> Field:
    """A square picture that spans [-1, 1], read bilinearly at the canvas's pixels."""
    scale = np.float32(len(picture) / 2.0)
    rows, columns = (canvas.y + 1.0) * scale - 0.5, (canvas.x + 1.0) * scale - 0.5
    values: Field = ndimage.map_coordinates(picture, [rows, columns], order=1, mode="nearest")
    return values


def blob(canvas: Canvas, rng: Generator, centre: Point, radius: float, rough: float) -> Field:
    """Approximate signed distance to a rounded irregular shape.

    Its radius is a sum of six harmonics of the angle with falling random amplitudes.

    Args:
        canvas: Frame to draw in.
        rng: Source of the outline.
        centre: Centre of the shape.
        radius: Mean radius.
        rough: Largest relative amplitude of the outline's waves.
    """
    x, y = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    stretch = float(np.exp(rng.uniform(-0.3, 0.3)))
    tilt = rng.uniform(0.0, np.pi)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    x, y = (x * cos + y * sin) * np.float32(stretch), (y * cos - x * sin) / np.float32(stretch)
    angle = np.arctan2(y, x)
    edge = np.ones_like(angle)
    for harmonic in range(2, 8):
        amplitude = rough * rng.uniform(0.3, 1.0) / harmonic**0.7
        edge += np.float32(amplitude) * np.cos(
            np.float32(harmonic) * angle + np.float32(rng.uniform(0.0, 2.0 * np.pi))
        )
    distance: Field = norm(x, y) - np.float32(radius) * np.maximum(edge, 0.25)
    return distance


def value_noise(x: Field, y: Field, rng: Generator) -> Field:
    """Smooth noise with one lattice cell a unit, about zero with unit spread at the nodes.

    Args:
        x: Coordinates in lattice cells; the lattice repeats after 64.
        y: As `x`, of the same shape.
        rng: Source of the lattice.
    """
    lattice = rng.uniform(-1.7, 1.7, (_LATTICE, _LATTICE)).astype(np.float32)
    ox, oy = rng.uniform(0.0, _LATTICE, 2)
    x, y = x + np.float32(ox), y + np.float32(oy)
    column, row = np.floor(x), np.floor(y)
    tx, ty = x - column, y - row
    tx, ty = tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty)
    left, above = column.astype(np.int32), row.astype(np.int32)
    right, below = (left + 1) & _WRAP, ((above + 1) & _WRAP) * _LATTICE
    left, above = left & _WRAP, (above & _WRAP) * _LATTICE
    nodes = lattice.ravel()
    top, bottom = nodes.take(above + left), nodes.take(below + left)
    top += tx * (nodes.take(above + right) - top)
    bottom += tx * (nodes.take(below + right) - bottom)
    return top + ty * (bottom - top)


def cloud(canvas: Canvas, rng: Generator, frequency: float, octaves: int = 3) -> Field:
    """Sum of octaves of `value_noise`, each rotated against the last, of about unit spread.

    Args:
        canvas: Frame to draw in.
        rng: Source of the lattices.
        frequency: Cells a canvas unit of the coarsest octave.
        octaves: Number of octaves; each halves the amplitude and doubles the frequency.
    """
    total = np.zeros_like(canvas.x)
    for octave in range(octaves):
        rotated = canvas.moved((0.0, 0.0), 0.6 + 1.1 * octave, 1.0 / (frequency * 2.0**octave))
        total += np.float32(0.5**octave) * value_noise(rotated.x, rotated.y, rng)
    return total


def walk(
    rng: Generator, start: Point, heading: float, length: float, steps: int, wander: float
) -> list[Point]:
    """Points of a path whose heading drifts by a normal step of spread `wander` radians."""
    points = [start]
    for _ in range(steps):
        heading += rng.normal(0.0, wander)
        x, y = points[-1]
        points.append(
            (
                x + length / steps * float(np.cos(heading)),
                y + length / steps * float(np.sin(heading)),
            )
        )
    return points
