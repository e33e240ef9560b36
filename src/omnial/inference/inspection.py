"""The inspection of one image: verdict, score map and outlines."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omnial.data.geometry import Placement
from omnial.inference.outlines import Outline, outlines

SMALLEST_REGION = 4
"""Regions of fewer network pixels are specks, and not outlined. [O]"""


@dataclass(frozen=True, eq=False)
class Inspection:
    """One image's verdict."""

    path: Path | None
    """The file; None for an image that was given as such."""
    class_name: str | None
    """The product that was named or recognised; None where no class was found."""
    score: float
    """In [0, 1]."""
    threshold: float
    anomalous: bool
    """Whether the score lies above the threshold, see `models.thresholds.is_anomalous`."""
    score_map: NDArray[np.float32]
    """(H, W) of the source image, in [0, 1]."""
    outlines: tuple[Outline, ...]
    """Defects of an anomalous image, the largest first, in source pixels with whole numbers at
    pixel centres; empty for a good one."""
    image: NDArray[np.uint8]
    """(H, W, 3), the source image upright, 8 bit."""


def find_outlines(
    score_map: NDArray[np.float32], level: float, placement: Placement, *, cell: float = 1.0
) -> tuple[Outline, ...]:
    """Outlines for an anomalous image, in source pixels: never none, unless the map is zero.

    They are drawn at the map's own resolution, which holds all that is known, and scaled: a
    source of a hundred megapixels then costs no more than a small one.

    Args:
        score_map: (height, width) of the placement.
        level: Regions above it are outlined; where there is none, those above half of the peak.
        placement: Where the source image lies in the map.
        cell: Map pixels that one network pixel covers, above 1 for a map put together of tiles.
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
