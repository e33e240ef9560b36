"""A product as a surface, and the camera that photographs it.

Products and defects write into four maps (colour, height, gloss, light that reaches a point);
`photograph` lights them. A dent or a scratch therefore shades as the light falls, and a defect
differs from its defect-free twin exactly where the maps do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from omnial.demo.canvas import Canvas, Field, Point

Colour = tuple[float, float, float]
"""A screen colour, 0..255 a channel."""
Shadow = tuple[float, float, float]
"""Length along each axis and softness in canvas units, and the share of light that it takes."""


def linear(colour: Colour) -> NDArray[np.float32]:
    """Linear light in [0, 1] of a screen colour, shape (3,): a gamma of 2."""
    return np.asarray([(c / 255.0) ** 2 for c in colour], dtype=np.float32)


def varied(rng: Generator, colour: Colour, spread: float) -> Colour:
    """The colour, its brightness and each channel varied by a relative normal spread."""
    common = rng.normal(0.0, spread)
    red, green, blue = (
        min(max(c * (1.0 + common + 0.3 * rng.normal(0.0, spread)), 0.0), 255.0) for c in colour
    )
    return red, green, blue


@dataclass
class Surface:
    """What the camera looks at, in float32; N is the canvas size."""

    albedo: Field  # (N, N, 3), linear reflectance in [0, 1]
    height: Field  # (N, N), canvas units towards the camera
    gloss: Field  # (N, N), strength of the mirror-like reflection
    light: Field  # (N, N) in [0, 1], share of the light that reaches the point

    @classmethod
    def plain(cls, canvas: Canvas, colour: Colour, gloss: float = 0.0) -> "Surface":
        """A flat surface of one colour."""
        albedo = np.broadcast_to(linear(colour), (*canvas.x.shape, 3)).copy()
        height = np.zeros(canvas.x.shape, np.float32)
        return cls(albedo, height, np.full_like(height, gloss), np.ones_like(height))

    def close_up(self, canvas: Canvas, centre: Point, reach: float) -> tuple["Surface", Canvas]:
        """Views of the surroundings of a small part: what is drawn there is drawn here."""
        dx, dy = np.abs(canvas.x - centre[0]), np.abs(canvas.y - centre[1])
        rows, columns = np.nonzero(np.maximum(dx, dy) < reach)
        window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        maps = (self.albedo, self.height, self.gloss, self.light)
        view = Surface(*(values[window] for values in maps))
        return view, Canvas(canvas.x[window], canvas.y[window], canvas.pixel)

    def paint(self, cover: Field, colour: Colour, gloss: float | None = None) -> None:
        """Lay a colour over the surface, weighted by `cover` in [0, 1]."""
        self.albedo += (linear(colour) - self.albedo) * cover[..., None]
        if gloss is not None:
            self.gloss += (gloss - self.gloss) * cover

    def put(
        self, canvas: Canvas, cover: Field, colour: Colour, gloss: float, shadow: Shadow
    ) -> None:
        """Paint a raised shape, and its shadow under a lamp at the upper left."""
        length, softness, depth = shadow
        shift = round(length / canvas.pixel)
        moved = np.zeros_like(cover)
        rows, columns = cover.shape
        moved[shift:, shift:] = cover[: max(rows - shift, 0), : max(columns - shift, 0)]
        dark = ndimage.gaussian_filter(moved, softness / canvas.pixel, mode="nearest", truncate=2.5)
        self.dim(dark * (1.0 - cover), depth)
        self.paint(cover, colour, gloss)
        np.maximum(self.light, cover, out=self.light)  # it stands out of other shadows

    def tint(self, cover: Field, colour: Colour) -> None:
        """Multiply the surface by a colour as a liquid does, weighted by `cover`."""
        self.albedo *= 1.0 + (linear(colour) - 1.0) * cover[..., None]

    def dim(self, cover: Field, depth: float) -> None:
        """Take away up to `depth` of the light, weighted by `cover`."""
        self.light *= 1.0 - depth * np.clip(cover, 0.0, 1.0)

    def mottle(self, noise: Field, amount: float) -> None:
        """Vary the brightness by a relative noise field."""
        self.albedo *= np.maximum(1.0 + amount * noise, 0.05)[..., None]


def photograph(surface: Surface, canvas: Canvas, rng: Generator) -> Field:
    """The surface under the lamp without sensor grain, (N, N, 3) float32 in [0, 1].

    A lamp at the upper left and a lens, varied by `rng` as over the shifts of a factory. Diffuse
    reflection after Lambert and a highlight after Blinn (1977), light that falls off with the
    square of the distance, a vignette, a shoulder instead of hard clipping, gamma 2.
    """
    warm = rng.normal(0.0, 0.02)
    lamp = (rng.uniform(-1.9, -1.2), rng.uniform(-1.9, -1.2), rng.uniform(2.4, 3.0))
    ambient, exposure = rng.uniform(0.28, 0.38), np.exp(rng.normal(0.0, 0.07))
    vignette, blur = rng.uniform(0.03, 0.12), rng.uniform(0.45, 0.7)

    slope_y, slope_x = np.gradient(surface.height, np.float32(canvas.pixel))
    steep = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    lx, ly, lz = lamp[0] - canvas.x, lamp[1] - canvas.y, lamp[2]
    distance = np.sqrt(lx**2 + ly**2 + np.float32(lz) ** 2)
    facing = np.maximum((lz - slope_x * lx - slope_y * ly) * steep / distance, 0.0)
    fall_off = np.float32(sum(c * c for c in lamp)) / distance**2

    hx, hy, hz = lx / distance, ly / distance, lz / distance + 1.0
    half = np.maximum((hz - slope_x * hx - slope_y * hy) * steep, 0.0)
    half /= np.sqrt(hx**2 + hy**2 + hz**2)
    highlight = surface.gloss * half**24 * surface.light

    level = ambient * (0.5 + 0.5 * surface.light)
    level = level + 0.95 * facing * fall_off * surface.light
    level *= 1.0 - vignette * (canvas.x**2 + canvas.y**2)
    image = surface.albedo * level[..., None] + highlight[..., None]
    image *= np.asarray([1.0 + warm, 1.0, 1.0 - warm], np.float32) * np.float32(exposure)
    over = np.maximum(image - 0.7, 0.0) / np.float32(0.3)
    image = np.sqrt(np.clip(image, 0.0, 0.7) + 0.3 * over / (1.0 + over))
    # The lens blurs by part of an output pixel at 256; the canvas may be finer than the output.
    sigma = blur * len(canvas.x) / 256.0
    blurred = ndimage.gaussian_filter(image, (sigma, sigma, 0.0), mode="nearest", truncate=3.0)
    return np.clip(blurred, 0.0, 1.0).astype(np.float32)


def grain(rng: Generator, size: int, strength: float) -> Field:
    """Sensor grain, (size, size, 3) float32: half of it grey, slightly coarser than a pixel."""
    colour = rng.standard_normal((size, size, 3), dtype=np.float32)
    grey = ndimage.gaussian_filter(colour.mean(axis=2) * np.float32(3**0.5), 0.5)
    return np.float32(strength) * (np.float32(1.3) * grey[..., None] + np.float32(0.6) * colour)
