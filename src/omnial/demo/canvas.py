"""Coordinates, signed distances and smooth noise: what every picture is drawn with.

A canvas spans [-1, 1] along both axes (x to the right, y down), whatever its resolution. A shape
is a signed distance (negative inside, canvas units), so that its edge is anti-aliased by
`Canvas.cover` without supersampling. Angles are in radians, clockwise on screen.
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

ORIGIN: Point = (0.0, 0.0)
TURN = 2.0 * np.pi
_LATTICE = 64
_WRAP = _LATTICE - 1


@dataclass(frozen=True)
class Canvas:
    """Pixel centres of a square picture in some frame of coordinates."""

    x: Field  # (N, N) float32, to the right
    y: Field  # (N, N) float32, downwards
    pixel: float  # edge of a pixel in the same units

    @classmethod
    def of_size(cls, size: int) -> "Canvas":
        """A canvas of size x size pixels that spans [-1, 1]."""
        axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
        x, y = np.meshgrid(axis, axis)
        return cls(x, y, 2.0 / size)

    def moved(self, centre: Point, angle: float = 0.0, scale: float = 1.0) -> "Canvas":
        """The same pixels in the frame of a part placed at `centre`, rotated and scaled."""
        cos, sin = float(np.cos(angle)) / scale, float(np.sin(angle)) / scale
        x, y = self.x - centre[0], self.y - centre[1]
        return Canvas(x * cos + y * sin, y * cos - x * sin, self.pixel / scale)

    def posed(self, rng: Generator, turn: float, shift: float, zoom: float) -> "Canvas":
        """The frame of a part whose position, angle and size vary by up to these amounts."""
        centre = (rng.uniform(-shift, shift), rng.uniform(-shift, shift))
        return self.moved(centre, rng.uniform(-turn, turn), 1.0 + rng.uniform(-zoom, zoom))

    def cover(self, distance: Field, soft: float = 0.0) -> Field:
        """Share of each pixel inside a shape in [0, 1]; its edge is `soft` wider than a pixel."""
        share: Field = np.clip(0.5 - distance / np.float32(self.pixel + soft), 0.0, 1.0)
        return share

    def disc(self, centre: Point, radius: float) -> Field:
        """Signed distance to a disc."""
        return norm(self.x - centre[0], self.y - centre[1]) - radius

    def box(self, centre: Point, half: Point, corner: float = 0.0) -> Field:
        """Signed distance to a rectangle of half width and height `half` with round corners."""
        dx = np.abs(self.x - centre[0]) - (half[0] - corner)
        dy = np.abs(self.y - centre[1]) - (half[1] - corner)
        outside = norm(np.maximum(dx, 0.0), np.maximum(dy, 0.0))
        distance: Field = outside + np.minimum(np.maximum(dx, dy), 0.0) - corner
        return distance

    def polyline(self, points: Sequence[Point], radii: float | Sequence[float]) -> Field:
        """Signed distance to a stroke through `points` whose half width goes through `radii`."""
        widths = [radii] * len(points) if isinstance(radii, float) else radii
        distance = np.full_like(self.x, np.inf)
        for i in range(len(points) - 1):
            (x0, y0), (x1, y1) = points[i : i + 2]
            dx, dy = x1 - x0, y1 - y0
            px, py = self.x - x0, self.y - y0
            t = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-12), 0.0, 1.0)
            gap = norm(px - t * dx, py - t * dy)
            np.minimum(distance, gap - (widths[i] + t * (widths[i + 1] - widths[i])), out=distance)
        return distance

    def blob(self, rng: Generator, centre: Point, radius: float, rough: float) -> Field:
        """Approximate signed distance to a rounded irregular shape of this mean radius.

        The outline is a sum of six harmonics of the angle with falling random amplitudes, the
        largest about `rough` times the radius.
        """
        stretch = float(np.exp(rng.uniform(-0.3, 0.3)))
        frame = self.moved(centre, rng.uniform(0.0, np.pi))
        x, y = frame.x * stretch, frame.y / stretch
        angle = np.arctan2(y, x)
        edge = np.ones_like(angle)
        for harmonic in range(2, 8):
            amplitude = rough * rng.uniform(0.3, 1.0) / harmonic**0.7
            edge += amplitude * np.cos(harmonic * angle + rng.uniform(0.0, TURN))
        distance: Field = norm(x, y) - radius * np.maximum(edge, 0.25)
        return distance

    def cloud(self, rng: Generator, frequency: float, octaves: int = 2) -> Field:
        """Sum of octaves of `value_noise`, each rotated against the last, of about unit spread.

        The coarsest octave has `frequency` cells a canvas unit; each further one halves the
        amplitude and doubles the frequency.
        """
        total = np.zeros_like(self.x)
        for octave in range(octaves):
            rotated = self.moved(ORIGIN, 0.6 + 1.1 * octave, 1.0 / (frequency * 2.0**octave))
            total += 0.5**octave * value_noise(rotated.x, rotated.y, rng)
        return total


def along(start: Point, angle: float, length: float) -> Point:
    """The point at the end of a straight line."""
    return start[0] + length * float(np.cos(angle)), start[1] + length * float(np.sin(angle))


def norm(x: Field, y: Field) -> Field:
    """Length of (x, y); `np.hypot` guards against overflow and takes several times as long."""
    length: Field = np.sqrt(x * x + y * y)
    return length


def smooth(low: float, high: float, value: Field) -> Field:
    """Cubic step from 0 at `low` to 1 at `high` (either may be the larger)."""
    t: Field = np.clip((value - low) / np.float32(high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def ridge(distance: Field, width: float) -> Field:
    """A Gaussian line along distance 0 that falls to 1 / e at `width`."""
    line: Field = np.exp(-((distance / width) ** 2))
    return line


def sample(picture: Field, canvas: Canvas) -> Field:
    """A square picture that spans [-1, 1], read bilinearly at the canvas's pixels."""
    scale = len(picture) / 2.0
    rows, columns = (canvas.y + 1.0) * scale - 0.5, (canvas.x + 1.0) * scale - 0.5
    values: Field = ndimage.map_coordinates(picture, [rows, columns], order=1, mode="nearest")
    return values


def value_noise(x: Field, y: Field, rng: Generator) -> Field:
    """Smooth noise about zero with unit spread at the nodes of a lattice.

    The lattice is random, has one cell a unit of `x` and `y`, and repeats after 64.
    """
    nodes = rng.uniform(-1.7, 1.7, (_LATTICE, _LATTICE)).astype(np.float32).ravel()
    ox, oy = rng.uniform(0.0, _LATTICE, 2)
    x, y = x + np.float32(ox), y + np.float32(oy)
    column, row = np.floor(x), np.floor(y)
    tx, ty = x - column, y - row
    tx, ty = tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty)
    left, above = column.astype(np.int32), row.astype(np.int32)
    right, below = (left + 1) & _WRAP, ((above + 1) & _WRAP) * _LATTICE
    left, above = left & _WRAP, (above & _WRAP) * _LATTICE
    top, bottom = nodes.take(above + left), nodes.take(below + left)
    top += tx * (nodes.take(above + right) - top)
    bottom += tx * (nodes.take(below + right) - bottom)
    return top + ty * (bottom - top)


def walk(
    rng: Generator, start: Point, heading: float, length: float, steps: int, wander: float
) -> list[Point]:
    """Points of a path whose heading drifts by a normal step of spread `wander` radians."""
    points = [start]
    for _ in range(steps):
        heading += rng.normal(0.0, wander)
        points.append(along(points[-1], heading, length / steps))
    return points
