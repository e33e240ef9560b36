"""Families of defects, drawn otherwise than the training synthesis does, to judge what it taught.

Shapes with another shade (scratch, crack, spot) or another texture (pasted, blurred); pieces of
good material in the wrong place: a patch of another image of the class whose seam is hidden
(moved; Schlüter et al. 2022), a thin strip of the same image (scar; Li et al. 2021), and a
cut-out that is filled smoothly from its rim (filled).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

CHANGE = (0.15, 0.5)
"""By how much a scratch, crack or spot is lighter or darker, of the range."""
_SCALE = 2  # shapes are drawn at twice the size and averaged down
_VISIBLE = 0.02  # least change of any channel that is labelled
_GREY_LEVEL = 1 / 255

Array = NDArray[np.float32]


class Material(NamedTuple):
    """What a defect is drawn onto, and from."""

    image: Array
    """(3, H, W) in [0, 1]."""
    other: Array
    """Another good image of the class, of the same size."""


Draw = Callable[[Material, np.random.Generator, tuple[float, float]], tuple[Array, Array]]
"""Gives what stands in the defect's place, (3, H, W), and how much of it is seen, (H, W) in 0..1.
The last argument is the range of a shade's change."""


def draw_defect(
    material: Material,
    family: str,
    rng: np.random.Generator,
    change: tuple[float, float] = CHANGE,
) -> tuple[Array, NDArray[np.bool_]]:
    """One defect of a family of `FAMILIES`: the image with it, and its (H, W) mask.

    The mask is where a change can be seen; it is empty where none can, as on flat material.
    """
    source, alpha = FAMILIES[family](material, rng, change)
    defective = (material.image * (1 - alpha) + source * alpha).clip(0, 1).astype(np.float32)
    changed = np.abs(defective - material.image)
    if family in ("moved", "filled"):
        # Their rim changes by nothing, so the change itself says how far they reach.
        seen = ndimage.median_filter(changed.mean(0) > _GREY_LEVEL, 5)
        return defective, seen & (alpha > 0.5)
    # Of its own strongest place: a hairline is nowhere opaque.
    return defective, (alpha > 0.4 * alpha.max()) & (changed.max(0) > _VISIBLE)


def harmonic(frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smoothest filling of a frame: the discrete Laplace equation, by sine transforms.

    Args:
        frame: (C, h + 2, w + 2); only its outermost rows and columns are read.

    Returns:
        (C, h, w): every value is the mean of its four neighbours.
    """
    height, width = frame.shape[1] - 2, frame.shape[2] - 2
    known = np.zeros((frame.shape[0], height, width))
    known[:, 0] -= frame[:, 0, 1:-1]
    known[:, -1] -= frame[:, -1, 1:-1]
    known[:, :, 0] -= frame[:, 1:-1, 0]
    known[:, :, -1] -= frame[:, 1:-1, -1]
    rows, columns = (np.arange(1, n + 1) * np.pi / (n + 1) for n in (height, width))
    down, across = (np.sin(np.outer(a, np.arange(1, len(a) + 1))) for a in (rows, columns))
    eigenvalues = 2 * np.cos(rows)[:, None] + 2 * np.cos(columns) - 4
    transformed = down @ known @ across / eigenvalues
    solved: NDArray[np.float64] = down @ transformed @ across * (4 / ((height + 1) * (width + 1)))
    return solved


def _shade(kind: str) -> Draw:
    def draw(
        material: Material, rng: np.random.Generator, change: tuple[float, float]
    ) -> tuple[Array, Array]:
        alpha = _shape(rng, kind, material.image.shape[1:])
        return material.image + np.float32(rng.choice([-1, 1]) * rng.uniform(*change)), alpha

    return draw


def _pasted(
    material: Material, rng: np.random.Generator, change: tuple[float, float]
) -> tuple[Array, Array]:
    """Another part of the same image, mirrored."""
    height, width = material.image.shape[1:]
    alpha = _shape(rng, "polygon", (height, width))
    margins = [min(20, n // 4) for n in (height, width)]
    y, x = (int(rng.integers(m, n - m)) for m, n in zip(margins, (height, width), strict=True))
    return np.roll(material.image[:, ::-1], (y, x), (1, 2)), alpha


def _blurred(
    material: Material, rng: np.random.Generator, change: tuple[float, float]
) -> tuple[Array, Array]:
    alpha = _shape(rng, "polygon", material.image.shape[1:])
    return ndimage.gaussian_filter(material.image, (0, 4, 4)) * rng.uniform(0.8, 1.0), alpha


def _moved(
    material: Material, rng: np.random.Generator, change: tuple[float, float]
) -> tuple[Array, Array]:
    """A patch of the other image, moved and resized, its shade bent so that the seam is hidden."""
    size = material.image.shape[1:]
    (top, left), (height, width) = _rectangle(rng, size)
    scale = np.clip(rng.normal(1.0, 0.5), 0.7, 1.3)
    cut = [min(round(n / scale), whole) for n, whole in zip((height, width), size, strict=True)]
    y, x = (int(rng.integers(whole - n + 1)) for n, whole in zip(cut, size, strict=True))
    piece = torch.from_numpy(material.other[None, :, y : y + cut[0], x : x + cut[1]].copy())
    patch = F.interpolate(piece, (height, width), mode="bilinear", antialias=True)[0].numpy()
    target = material.image[:, top : top + height, left : left + width]
    bent = patch[:, 1:-1, 1:-1] + harmonic((target - patch).astype(np.float64))
    return _within(material.image, bent, top + 1, left + 1)


def _filled(
    material: Material, rng: np.random.Generator, change: tuple[float, float]
) -> tuple[Array, Array]:
    """A cut-out, filled smoothly from its rim."""
    (top, left), (height, width) = _rectangle(rng, material.image.shape[1:])
    frame = material.image[:, top : top + height, left : left + width]
    return _within(material.image, harmonic(frame.astype(np.float64)), top + 1, left + 1)


def _scar(
    material: Material, rng: np.random.Generator, change: tuple[float, float]
) -> tuple[Array, Array]:
    """A thin strip of the same image, rotated, its colours changed by up to a tenth."""
    size = material.image.shape[1:]
    strip = [int(rng.integers(2, 17)), int(rng.integers(10, 61))]
    if rng.random() < 0.5:
        strip.reverse()
    strip = [min(n, whole // 2) for n, whole in zip(strip, size, strict=True)]
    y, x = (int(rng.integers(whole - n + 1)) for n, whole in zip(strip, size, strict=True))
    cut = material.image[:, y : y + strip[0], x : x + strip[1]].astype(np.float64)
    # Brightness, colour, contrast.
    cut = cut * rng.uniform(0.9, 1.1) * rng.uniform(0.9, 1.1, (3, 1, 1))
    mean = cut.mean((1, 2), keepdims=True)
    cut = mean + (cut - mean) * rng.uniform(0.9, 1.1)
    angle = rng.uniform(-45, 45)
    rotated = ndimage.rotate(cut, angle, axes=(2, 1), order=1, mode="nearest")
    seen = ndimage.rotate(np.ones(strip), angle, order=1)
    seen = seen[: size[0], : size[1]]
    rotated = rotated[:, : seen.shape[0], : seen.shape[1]]
    top, left = (
        int(rng.integers(whole - n + 1)) for n, whole in zip(seen.shape, size, strict=True)
    )
    source, alpha = _within(material.image, rotated, top, left)
    alpha[top : top + seen.shape[0], left : left + seen.shape[1]] = seen.clip(0, 1)
    return source, alpha


FAMILIES: dict[str, Draw] = {
    "scratch": _shade("scratch"),
    "crack": _shade("crack"),
    "spot": _shade("spot"),
    "pasted": _pasted,
    "blurred": _blurred,
    "moved": _moved,
    "scar": _scar,
    "filled": _filled,
}


def _shape(rng: np.random.Generator, kind: str, size: tuple[int, ...]) -> Array:
    """How much of one shape each pixel shows: (H, W) in 0..1, its edge a little soft."""
    height, width = size
    canvas = Image.new("L", (width * _SCALE, height * _SCALE), 0)
    pen = ImageDraw.Draw(canvas)
    whole = np.array(canvas.size)
    if kind in ("scratch", "crack"):
        legs = 2 if kind == "scratch" else int(rng.integers(4, 12))
        point, angle = rng.uniform(0.1, 0.9, 2) * whole, rng.uniform(0, 2 * np.pi)
        length = rng.uniform(30, 120) * _SCALE / legs
        points = [tuple(point)]
        for _ in range(legs):
            angle += rng.normal(0, 0.05 if kind == "scratch" else 0.5)
            point = point + length * np.array([np.cos(angle), np.sin(angle)])
            points.append(tuple(point))
        pen.line(points, fill=255, width=int(rng.integers(2, 7)))
    elif kind == "spot":
        centre, radii = rng.uniform(0.15, 0.85, 2) * whole, rng.uniform(6, 28, 2)
        pen.ellipse((*(centre - radii), *(centre + radii)), fill=255)
    else:
        corners = int(rng.integers(4, 9))
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(12, 50, corners)
        ring = np.stack((radii * np.cos(angles), radii * np.sin(angles)), 1)
        pen.polygon([tuple(xy) for xy in rng.uniform(0.2, 0.8, 2) * whole + ring], fill=255)
    shape = np.asarray(canvas.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    softened: Array = ndimage.gaussian_filter(shape, rng.uniform(0.3, 1.0)).astype(np.float32)
    return softened


def _rectangle(
    rng: np.random.Generator, size: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left corner and size: half a side is 5 to 20 % of the image's, small ones more often."""
    sides = [max(3, round(2 * whole * np.clip(rng.gamma(2.0, 0.05), 0.05, 0.2))) for whole in size]
    corner = [int(rng.integers(whole - n + 1)) for n, whole in zip(sides, size, strict=True)]
    return (corner[0], corner[1]), (sides[0], sides[1])


def _within(image: Array, piece: NDArray[np.float64], top: int, left: int) -> tuple[Array, Array]:
    """The image with a piece in it, and where the piece lies."""
    source, alpha = image.copy(), np.zeros(image.shape[1:], np.float32)
    place = (slice(top, top + piece.shape[1]), slice(left, left + piece.shape[2]))
    source[(slice(None), *place)] = piece
    alpha[place] = 1.0
    return source, alpha
