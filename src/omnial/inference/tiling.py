"""Images much larger than the network input, predicted in overlapping tiles, a batch in memory."""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.cover import Blend, Cover, Part
from omnial.data.decode import as_unit, network_input
from omnial.data.geometry import Placement, mask_to_network, to_source
from omnial.models.prediction import Prediction

Run = Callable[[NDArray[np.float32], NDArray[np.bool_]], Prediction]


def tile_size(tile: int, settings: DataSettings) -> tuple[int, int]:
    """Height and width in source pixels of tiles in the network input's proportions."""
    shorter = min(settings.height, settings.width)
    return round(tile * settings.height / shorter), round(tile * settings.width / shorter)


def fits_one_tile(size: tuple[int, int], tile: int, settings: DataSettings) -> bool:
    """Whether an image of that height and width needs no tiling: it is inspected as a whole."""
    return all(side <= edge for side, edge in zip(size, tile_size(tile, settings), strict=True))


def predict_tiles(
    run: Run,
    image: NDArray[Any],
    settings: DataSettings,
    tile: int,
    *,
    batch_size: int,
    region: NDArray[np.bool_] | None = None,
) -> tuple[float, NDArray[np.float32]]:
    """Predict an image tile by tile: the largest score of all tiles, and the (H, W) map.

    Every tile is an image of its own in the network input's proportions, hence never seen in
    windows. Where tiles overlap, their maps are blended. A tile that reaches over the border of an
    image that is shorter is filled by repeating the border, which is not predicted.

    `run` predicts a batch, see `Backend.run`. The image is (H, W, 3) uint8, or float32 in [0, 1];
    `tile` is source pixels of a tile's shorter side. `region` is a region of interest of any size,
    stretched over the image; None is everywhere.
    """
    cover = Cover.over(image.shape[:2], tile_size(tile, settings))
    if settings.geometry != "pad":
        settings = settings.model_copy(update={"geometry": "squash"})
    blend, best = Blend(cover), 0.0
    cut = (_cut(image, part, cover, settings, region) for part in cover.parts())
    tiles = (piece for piece in cut if piece.valid.any())
    while batch := list(islice(tiles, batch_size)):
        pixels = np.stack([piece.pixels for piece in batch])
        prediction = run(pixels, np.stack([piece.valid for piece in batch]))
        best = max(best, float(prediction.scores.max()))
        for piece, score_map in zip(batch, prediction.score_maps, strict=True):
            whole = to_source(score_map, piece.placement)
            blend.add(piece.part, whole[: cover.rows.shown, : cover.columns.shown])
    return best, blend.result()


class _Tile(NamedTuple):
    part: Part
    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    placement: Placement


def _cut(
    image: NDArray[Any],
    part: Part,
    cover: Cover,
    settings: DataSettings,
    region: NDArray[np.bool_] | None,
) -> _Tile:
    rows, columns = cover.rows, cover.columns
    shown = image[part]
    inside = np.ones(shown.shape[:2], dtype=np.bool_)
    if region is not None:
        # The cell in which each pixel's centre lies, on a coarser or finer grid of the same frame.
        down, across = (
            (2 * np.arange(along.start, along.stop) + 1) * cells // (2 * length)
            for along, length, cells in zip(part, image.shape, region.shape, strict=False)
        )
        inside = region[np.ix_(down, across)]
    margins = ((0, rows.tile - rows.shown), (0, columns.tile - columns.shown))
    filled = np.pad(shown, (*margins, (0, 0)), mode="edge")
    network, placement = network_input(filled, settings)
    valid = mask_to_network(np.pad(inside, margins), placement)
    return _Tile(part, as_unit(network), valid, placement)
