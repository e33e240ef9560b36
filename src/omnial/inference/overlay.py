"""Score maps and outlines as pictures, alike in predictions and reports.

The colour map is matplotlib's `inferno`: perceptually uniform, rising in lightness, and readable
with colour-vision deficiency.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont


class Colour(NamedTuple):
    """An sRGB colour, each channel in 0..255."""

    red: int
    green: int
    blue: int


PREDICTED = Colour(0, 229, 255)
"""Outline of what the model marked: cyan, a hue that `inferno` does not hold."""
TRUTH = Colour(124, 255, 79)
"""Outline of the ground truth: green."""
ALARM, SOUND = Colour(179, 38, 30), Colour(29, 110, 62)
"""Ground of the verdict: red for an anomalous image, green for a good one."""

_RIM = Colour(0, 0, 0)
_SCORES = np.linspace(0.0, 1.0, 256)
_COLOURS: NDArray[np.uint8] = np.asarray(
    matplotlib.colormaps["inferno"](_SCORES, bytes=True)[:, :3], dtype=np.uint8
)
_STRONGEST = 0.65
"""Opacity of the colour at score 1: the image stays visible under the surest defect."""
_OPACITY = np.rint(255 * _STRONGEST * _SCORES**2 * (3.0 - 2.0 * _SCORES)).astype(np.uint8)
"""Of each level of the score, 0..255."""
_FINE_PIXELS = 4_000_000
"""Boxes of more pixels are drawn without smoothing, where a line is many pixels wide anyway."""


def heat(score_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours (H, W, 3) uint8 of a score map, 0..1, clipped, NaN as 0: black to a pale yellow."""
    return _COLOURS[_levels(score_map)]


def heat_stops(count: int = 17) -> list[tuple[float, Colour]]:
    """Evenly spaced stops of the colour map, for a legend: scores in 0..1 and their colours."""
    scores = np.linspace(0.0, 1.0, count)
    colours = heat(scores[None])[0].tolist()
    return [(score, Colour(*c)) for score, c in zip(scores.tolist(), colours, strict=True)]


def draw_outlines(
    image: NDArray[np.uint8], polygons: Sequence[ArrayLike], colour: Colour = PREDICTED
) -> NDArray[np.uint8]:
    """An (H, W, 3) uint8 RGB image with closed outlines, which have a dark rim.

    Polygons are (n, 2), x and y in pixels, whole numbers at pixel centres; one of a single point
    becomes a dot. The line is 1/128 of the shorter side wide, at least one pixel. What lies
    outside the image is not drawn.
    """
    drawn = image.copy()
    width = max(1.0, min(image.shape[:2]) / 128)
    lines = [np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in polygons]
    # All rims first: none darkens another's line.
    for thickness, ink, opacity in ((2.2 * width, _RIM, 0.7), (width, colour, 1.0)):
        for points in lines:
            if len(points):
                _stroke(drawn, points, thickness, ink, opacity)
    return drawn


def overlay(
    image: NDArray[np.uint8], score_map: NDArray[np.floating], polygons: Sequence[ArrayLike]
) -> NDArray[np.uint8]:
    """Lay an (H, W) score map, 0..1, and outlines over an (H, W, 3) uint8 RGB image.

    The colour is the more opaque the higher the score s: 0.65 s^2 (3 - 2 s). The image shows
    unchanged at 0, hardly tinted by the faint scores of sound material, and still through at 1.
    """
    if image.shape[:2] != score_map.shape:
        raise ValueError(f"an image of {image.shape[:2]} and a score map of {score_map.shape}")
    levels = _levels(score_map)
    pictures = (Image.fromarray(pixels) for pixels in (_COLOURS[levels], image, _OPACITY[levels]))
    return draw_outlines(np.asarray(Image.composite(*pictures)), polygons)


def draw_label(
    image: NDArray[np.uint8],
    texts: Sequence[str],
    ground: Colour,
    score_map: NDArray[np.floating],
) -> None:
    """Write into an (H, W, 3) image, in place, the first of the texts that fits into a corner.

    It is the corner whose highest score in the (H, W) map is lowest, so that no finding is hidden.
    Nothing is written into an image that is too small for it.
    """
    height, width = image.shape[:2]
    size = max(10, min(height, width) // 28)
    font = ImageFont.load_default(size)
    tall = size + 2 * (size // 3)
    for text in texts:
        wide = round(font.getlength(text)) + size
        if wide > 0.8 * width or tall > height / 6:
            continue
        corners = [(y, x) for y in (0, height - tall) for x in (0, width - wide)]
        top, left = min(
            corners, key=lambda at: score_map[at[0] : at[0] + tall, at[1] : at[1] + wide].max()
        )
        label = Image.new("RGB", (wide, tall), ground)
        ImageDraw.Draw(label).text((wide / 2, tall / 2), text, (255, 255, 255), font, "mm")
        image[top : top + tall, left : left + wide] = np.asarray(label)
        return


def _levels(score_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The scores 0..1 as levels 0..255, NaN as 0."""
    unit = np.clip(np.nan_to_num(score_map), 0.0, 1.0)
    levels: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8)
    return levels


def _stroke(
    image: NDArray[np.uint8],
    points: NDArray[np.float64],
    width: float,
    colour: Colour,
    opacity: float,
) -> None:
    """Draw one smooth closed line into the image, in place, for the cost of the box around it.

    It is rasterised at three times the size and averaged down.
    """
    height, wide = image.shape[:2]
    reach = int(np.ceil(width)) + 1
    left, top = np.clip(np.floor(points.min(0)).astype(int) - reach, 0, (wide, height))
    right, bottom = np.clip(np.ceil(points.max(0)).astype(int) + reach + 1, 0, (wide, height))
    if left >= right or top >= bottom:
        return
    fine = 3 if (right - left) * (bottom - top) <= _FINE_PIXELS else 1
    canvas = Image.new("L", (int(right - left) * fine, int(bottom - top) * fine), 0)
    pen = ImageDraw.Draw(canvas)
    # Odd factor, odd thickness and whole numbers: only so is a line centred on its points.
    grid = np.rint((points - (left, top) + 0.5) * fine - 0.5)
    corners = [(float(x), float(y)) for x, y in grid]
    thickness = 2 * round((width * fine - 1) / 2) + 1
    if len(corners) > 1:
        pen.line([*corners, *corners[:2]], fill=255, width=thickness, joint="curve")
    else:
        pen.circle(corners[0], thickness / 2, fill=255)
    cover = np.asarray(canvas.reduce(fine), dtype=np.float32)[..., None] * (opacity / 255)
    part = image[top:bottom, left:right]
    part[...] = np.rint(part * (1.0 - cover) + np.array(colour, np.float32) * cover)
