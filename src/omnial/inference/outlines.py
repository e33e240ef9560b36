"""Outlines of the regions in which a score map lies above a level.

A region is 8-connected, so that a thin diagonal scratch is one region. Each gives one polygon:
the outer contour at the level, interpolated between pixels. Holes are not outlined, but do not
count in the area.

Coordinates are x to the right, y down, in pixels, with whole numbers at pixel centres: the
pixel in the upper left corner is (0, 0), and an image of width W reaches from -0.5 to W - 0.5.
"""

import math
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray
from scipy import ndimage

from omnial.data.geometry import Placement
from omnial.untrusted import JSON

TOLERANCE = 0.25
"""Pixels that a simplified outline may stray from the contour."""

SMALLEST_REGION = 4
"""Regions of fewer network pixels are specks, and not outlined. [O]"""

_Polygons: TypeAlias = tuple[list[NDArray[np.float64]], list[NDArray[np.uint32]]]


class Outline(NamedTuple):
    """One region above the level."""

    polygon: NDArray[np.float64]
    """(n, 2) corners x, y; closed, without repeating the first corner."""
    area: int
    """Pixels above the level."""
    peak: float
    """Largest score in the region."""


def outline_json(outline: Outline) -> dict[str, JSON]:
    """An outline as a row of results holds it, in hundredths of pixels."""
    polygon = np.round(outline.polygon, 2).tolist()
    return {"polygon": polygon, "area": outline.area, "peak": round(outline.peak, 4)}


def outlines(
    score_map: NDArray[np.float32],
    level: float,
    *,
    minimal_area: int = 1,
    tolerance: float = TOLERANCE,
) -> list[Outline]:
    """Regions of an (H, W) map strictly above a level, largest area first, then in reading order.

    Regions of less than `minimal_area` pixels are dropped, and corners that change an outline by
    less than `tolerance` pixels; 0 keeps all that do not lie on a straight line.
    """
    if score_map.ndim != 2 or not np.isfinite(score_map).all():
        raise ValueError("the score map must be two-dimensional and finite")
    above = score_map > level
    labels, count = ndimage.label(above, structure=np.ones((3, 3), dtype=np.int8))
    if count == 0:
        return []
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    found = []
    for index, box in enumerate(ndimage.find_objects(labels)):
        if areas[index] < minimal_area:
            continue
        # The neighbours around the region say where between the pixels the contour runs.
        rows, columns = (slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        region = labels[rows, columns] == index + 1
        scores = score_map[rows, columns]
        framed = _framed(scores.astype(np.float64) - level, region)
        ring = _outer_ring(framed) + np.array([columns.start - 1, rows.start - 1])
        peak = float(scores[region].max())
        found.append(Outline(_simplify(ring, tolerance), int(areas[index]), peak))
    return sorted(found, key=lambda outline: -outline.area)


def find_outlines(
    score_map: NDArray[np.float32], level: float, placement: Placement, *, cell: float = 1.0
) -> tuple[Outline, ...]:
    """Outlines for an anomalous image, in source pixels: never none, unless the map is zero.

    They are drawn in the (height, width) map of the placement and scaled. Where no region lies
    above the level, those above half of the peak are outlined. `cell` is the map pixels that one
    network pixel covers, above 1 for a map put together of tiles.
    """
    content = score_map[placement.box]
    half = float(content.max()) / 2
    smallest = max(1, round(SMALLEST_REGION * cell))
    found = (
        outlines(content, level, minimal_area=smallest)
        or outlines(content, half, minimal_area=smallest)
        or outlines(content, half)
    )
    across = placement.source_width / placement.inner_width
    down = placement.source_height / placement.inner_height
    # Pixel edges, not centres, keep their place when a frame is stretched.
    return tuple(
        Outline(
            polygon=(polygon + 0.5) * (across, down) - 0.5,
            area=max(1, round(area * across * down)),
            peak=peak,
        )
        for polygon, area, peak in found
    )


def fill(polygon: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
    """Set the pixels of an (H, W) mask whose centres lie within an (n, 2) polygon, even-odd rule.

    It costs what the box around the polygon costs.
    """
    left, top = np.maximum(np.floor(polygon.min(axis=0)), 0).astype(int)
    right, bottom = np.ceil(polygon.max(axis=0)).astype(int) + 1
    box = mask[top : max(bottom, 0), left : max(right, 0)]
    height, width = box.shape
    flips = np.zeros((height, width + 1), np.bool_)
    corners = polygon - (left, top)
    for (x, y), (next_x, next_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, end = (math.ceil(end) for end in sorted((y, next_y)))
        rows = np.arange(max(first, 0), min(end, height))
        if rows.size:
            columns = np.ceil(x + (rows - y) * ((next_x - x) / (next_y - y)))
            flips[rows, np.clip(columns, 0, width).astype(int)] ^= True
    box |= np.logical_xor.accumulate(flips, axis=1)[:, :-1]


def _framed(height: NDArray[np.float64], region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Heights above the level, positive exactly in the region, with a frame of one pixel.

    The frame mirrors the border: a region at the map's border ends at its pixels' edge.
    """
    region = np.pad(region, 1)
    padded = np.pad(height, 1, mode="edge")
    # Where the map equals the level, a contour would run through pixel centres.
    hair = 1e-6 * float(np.abs(height).max())
    below = np.minimum(-np.abs(padded), -hair)
    framed: NDArray[np.float64] = np.where(region, padded, below)
    return _joined(framed)


def _joined(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lift the low corners where a region holds together by a diagonal alone.

    Contouring joins two diagonal pixels if the mean of the four around their corner lies above
    the level. The low two come closer to the level, staying below, until it does.
    """
    lifted = height.copy()
    views = [(slice(None, -1), slice(None, -1)), (slice(1, None), slice(1, None))]
    others = [(slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))]
    for high, low in ((views, others), (others, views)):
        first, second = height[high[0]], height[high[1]]
        saddle = (first > 0) & (second > 0) & (height[low[0]] < 0) & (height[low[1]] < 0)
        least = np.where(saddle, -0.45 * (first + second), -np.inf)
        for view in low:
            lifted[view] = np.maximum(lifted[view], least)
    return lifted


def _outer_ring(height: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) outer contour at 0 of the only region of a framed array, open."""
    generator = contour_generator(z=height, fill_type=FillType.OuterOffset)
    # For each polygon its points, and the offsets of its rings, the outer one first and closed.
    points, offsets = cast(_Polygons, generator.filled(0.0, 2.0 * float(height.max())))
    rings = [ring[: int(ends[1]) - 1] for ring, ends in zip(points, offsets, strict=True)]
    # Should rounding part a region at a corner, its longest ring stands for it.
    return max(rings, key=len)


def _simplify(ring: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Drop corners of a closed polygon that hardly matter (Ramer 1972, Douglas and Peucker 1973).

    Works on the two halves between the first corner and the one farthest from it.
    """
    far = int(np.square(ring - ring[0]).sum(axis=1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    bound = max(tolerance, 1e-9)
    keep = np.zeros(len(closed), dtype=np.bool_)
    keep[[0, far]] = True
    # A corner is kept in each half at any rate: two would make no polygon.
    pending = [(0, far, 0.0), (far, len(ring), 0.0)]
    while pending:
        start, end, least = pending.pop()
        if end - start < 2:
            continue
        distance = _to_segment(closed[start + 1 : end], closed[start], closed[end])
        farthest = int(distance.argmax())
        if distance[farthest] > least:
            middle = start + 1 + farthest
            keep[middle] = True
            pending += [(start, middle, bound), (middle, end, bound)]
    return ring[keep[:-1]]


def _to_segment(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) distance of points to the segment between two others."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0.0, 1.0) if length > 0 else 0.0
    nearest = start + np.multiply.outer(share, along)
    distance: NDArray[np.float64] = np.hypot(*(points - nearest).T)
    return distance
