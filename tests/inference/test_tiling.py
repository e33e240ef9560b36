"""Tiles: where they lie, how they are blended, and when they change nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.cover import OVERLAP, Grid
from omnial.inference.tiling import fits_one_tile, predict_tiles, tile_size
from omnial.models.prediction import Prediction

SETTINGS = DataSettings(height=32, width=64)


class Red:
    """The score of a pixel is its red; counts the largest batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        self.batches.append(len(images))
        maps = np.where(valid, images[:, 0], np.float32(0))
        return Prediction(maps, maps.max(axis=(1, 2)).astype(np.float64))


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 200))
def test_tiles_cover_the_axis_and_overlap(length: int, tile: int) -> None:
    grid = Grid.over(length, tile)
    covered = np.zeros(length, int)
    for start in grid.starts:
        assert start >= 0
        assert start + grid.shown <= length
        covered[start : start + grid.shown] += 1
    assert covered.min() >= 1
    # Rounding to whole pixels may take one of the overlap.
    steps = np.diff(grid.starts)
    assert (steps <= (1 - OVERLAP) * tile + 1).all()
    assert (steps > 0).all() or tile < 2
    assert grid.weights().min() > 0
    assert grid.total().min() > 0


@pytest.mark.parametrize("size", [(32, 64), (100, 64), (20, 200), (97, 211), (40, 50)])
def test_a_pointwise_score_is_the_same_in_tiles(size: tuple[int, int]) -> None:
    """Tiles of the network's own size are not resized, so that nothing may change at all."""
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    score, score_map = predict_tiles(Red(), image, SETTINGS, 32, batch_size=3)
    np.testing.assert_allclose(score_map, image[..., 0], atol=1e-6)
    assert score == pytest.approx(float(image[..., 0].max()))


def test_memory_holds_one_batch_of_tiles() -> None:
    run = Red()
    image = np.zeros((300, 500, 3), np.uint8)
    predict_tiles(run, image, SETTINGS, 32, batch_size=4)
    rows, columns = (
        Grid.over(n, m) for n, m in zip((300, 500), tile_size(32, SETTINGS), strict=True)
    )
    assert sum(run.batches) == len(rows.starts) * len(columns.starts)
    assert max(run.batches) == 4


def test_nothing_is_scored_outside_the_region() -> None:
    image = np.full((96, 192, 3), 200, np.uint8)
    region = np.zeros((32, 64), np.bool_)
    region[:, 32:] = True
    run = Red()
    score, score_map = predict_tiles(run, image, SETTINGS, 32, batch_size=2, region=region)
    assert (score_map[:, :80] == 0).all()
    assert (score_map[:, 112:] > 0.7).all()
    assert score == pytest.approx(200 / 255, abs=1e-3)
    nowhere = np.zeros((32, 64), np.bool_)
    empty = Red()
    assert predict_tiles(empty, image, SETTINGS, 32, batch_size=2, region=nowhere)[0] == 0.0
    assert empty.batches == []


def test_larger_tiles_are_reduced() -> None:
    assert tile_size(64, SETTINGS) == (64, 128)
    assert tile_size(50, DataSettings(height=64, width=32)) == (100, 50)
    ramp = np.linspace(0, 1, 140, dtype=np.float32)
    image = np.broadcast_to(ramp[np.newaxis, :, np.newaxis], (80, 140, 3))
    _, score_map = predict_tiles(Red(), image, SETTINGS, 64, batch_size=2)
    assert score_map.shape == image.shape[:2]
    # Half a network pixel at the borders of tiles, where resizing repeats the last one.
    np.testing.assert_allclose(score_map, image[..., 0], atol=1.1 / 140)


def test_an_image_within_one_tile_needs_none() -> None:
    answers: list[tuple[tuple[int, int], Any]] = [
        ((32, 64), True),
        ((33, 64), False),
        ((5, 65), False),
    ]
    for size, answer in answers:
        assert fits_one_tile(size, 32, SETTINGS) is answer
