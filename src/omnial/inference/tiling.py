"""Images much larger than the network input, inspected in overlapping tiles.

Beside the source image and its score map (four bytes a pixel), memory holds one batch of tiles,
whatever the size of the image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit, network_input
from omnial.data.geometry import Placement, mask_to_network, to_source
from omnial.inference.backends.base import Scored

OVERLAP = 0.25
"""Share of a tile that it has in common with its neighbour, at least. [O]"""

Run = Callable[[NDArray[np.float32], NDArray[np.bool_]], Scored]


@dataclass(frozen=True)
class Grid:
    """Where tiles lie along one axis of an image."""

    length: int
    """Pixels of the image."""
    tile: int
    """Pixels of a tile; it may be longer than the image."""
    starts: tuple[int, ...]

    @classmethod
    def over(cls, length: int, tile: int) -> "Grid":
        """The fewest tiles that overlap by `OVERLAP`, evenly spread and flush at both ends."""
        if tile >= length:
            return cls(length, tile, (0,))
        count = math.ceil((length - tile) / (tile * (1.0 - OVERLAP))) + 1
        return cls(length, tile, tuple(round(s) for s in np.linspace(0, length - tile, count)))

    @property
    def shown(self) -> int:
        """Pixels of a tile that lie in the image."""
        return min(self.tile, self.length)

    def weights(self) -> NDArray[np.float32]:
        """Of each pixel of a tile: a ramp up, a plateau, a ramp down, all above 0."""
        edge = np.arange(self.shown, dtype=np.float32) + np.float32(0.5)
        ramp = np.float32(max(1.0, OVERLAP * self.tile))
        rising: NDArray[np.float32] = np.minimum(np.minimum(edge, edge[::-1]) / ramp, 1.0)
        return rising.astype(np.float32)

    def total(self) -> NDArray[np.float32]:
        """Of each pixel of the image: the sum of the weights of the tiles that it lies in."""
        total, weights = np.zeros(self.length, np.float32), self.weights()
        for start in self.starts:
            total[start : start + self.shown] += weights
        return total


def tile_size(tile: int, settings: DataSettings) -> tuple[int, int]:
    """Height and width in source pixels of tiles in the network input's proportions.

    Args:
        tile: Source pixels of a tile's shorter side.
        settings: The network input.
    """
    shorter = min(settings.height, settings.width)
    return round(tile * settings.height / shorter), round(tile * settings.width / shorter)


def fits_one_tile(size: tuple[int, int], tile: int, settings: DataSettings) -> bool:
    """Whether an image of that height and width needs no tiling: it is inspected as a whole."""
    return all(side <= edge for side, edge in zip(size, tile_size(tile, settings), strict=True))


def inspect_tiles(
    run: Run,
    image: NDArray[Any],
    settings: DataSettings,
    tile: int,
    *,
    batch_size: int,
    region: NDArray[np.bool_] | None = None,
) -> tuple[float, NDArray[np.float32]]:
    """Inspect an image tile by tile.

    Every tile goes the way of an image of its own. Where tiles overlap, their maps are averaged
    with weights that fall towards a tile's edges, where a network sees the least of what is
    around. A tile that reaches over an image's border, because the image is shorter than a tile
    in that direction, is filled by repeating the border, which is not scored.

    Args:
        run: Inspects a batch, see `Backend.run`.
        image: (H, W, 3) uint8, or float32 in [0, 1].
        settings: The network input.
        tile: Source pixels of a tile's shorter side.
        batch_size: Tiles at once.
        region: Region of interest of any size, stretched over the image; None is everywhere.

    Returns:
        The score, which is the largest of all tiles', and the (H, W) map.
    """
    size = image.shape[:2]
    rows, columns = (
        Grid.over(side, edge) for side, edge in zip(size, tile_size(tile, settings), strict=True)
    )
    weights = np.multiply.outer(rows.weights(), columns.weights())
    blended = np.zeros(size, np.float32)
    best = 0.0
    places = product(rows.starts, columns.starts)
    cut = (_cut(image, at, rows, columns, settings, region) for at in places)
    tiles = (part for part in cut if part.valid.any())
    while batch := list(islice(tiles, batch_size)):
        pixels = np.stack([part.pixels for part in batch])
        scored = run(pixels, np.stack([part.valid for part in batch]))
        best = max(best, float(scored.scores.max()))
        for part, score_map in zip(batch, scored.score_maps, strict=True):
            whole = to_source(score_map, part.placement)[: rows.shown, : columns.shown]
            top, left = part.at
            blended[top : top + rows.shown, left : left + columns.shown] += weights * whole
    blended /= rows.total()[:, np.newaxis]
    blended /= columns.total()
    return best, blended


@dataclass(frozen=True)
class _Tile:
    at: tuple[int, int]
    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    placement: Placement


def _cut(
    image: NDArray[Any],
    at: tuple[int, int],
    rows: Grid,
    columns: Grid,
    settings: DataSettings,
    region: NDArray[np.bool_] | None,
) -> _Tile:
    top, left = at
    part = image[top : top + rows.shown, left : left + columns.shown]
    inside = np.ones(part.shape[:2], dtype=np.bool_)
    if region is not None:
        down = _nearest(np.arange(top, top + rows.shown), image.shape[0], region.shape[0])
        across = _nearest(np.arange(left, left + columns.shown), image.shape[1], region.shape[1])
        inside = region[np.ix_(down, across)]
    margins = ((0, rows.tile - rows.shown), (0, columns.tile - columns.shown))
    filled = np.pad(part, (*margins, (0, 0)), mode="edge")
    network, placement = network_input(filled, settings)
    valid = mask_to_network(np.pad(inside, margins), placement)
    return _Tile(at, as_unit(network), valid, placement)


def _nearest(pixels: NDArray[np.intp], length: int, cells: int) -> NDArray[np.intp]:
    """The cell of a coarser or finer grid on the same frame in which each pixel's centre lies."""
    found: NDArray[np.intp] = (2 * pixels + 1) * cells // (2 * length)
    return found
