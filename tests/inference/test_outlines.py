import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from scipy import ndimage

from omnial.inference.outlines import Outline, outlines

MAPS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.50001, 0.7, 1.0]),
)


def shoelace(polygon: NDArray[np.float64]) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def inside(outline: Outline, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    rows, columns = np.indices(shape)
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    return Polygon(outline.polygon).contains_points(points).reshape(shape)


def test_square_at_half_between_zero_and_one() -> None:
    score_map = np.zeros((10, 12), np.float32)
    score_map[2:6, 3:9] = 1.0
    (outline,) = outlines(score_map, 0.5)
    assert outline.area == 24
    assert outline.peak == 1.0
    low, high = outline.polygon.min(axis=0), outline.polygon.max(axis=0)
    np.testing.assert_allclose(low, [2.5, 1.5], atol=1e-5)
    np.testing.assert_allclose(high, [8.5, 5.5], atol=1e-5)
    # Each of the four corners is cut by a triangle with legs of half a pixel.
    assert shoelace(outline.polygon) == pytest.approx(24 - 4 / 8, abs=1e-4)


def test_contour_is_interpolated_between_pixels() -> None:
    score_map = np.tile(np.linspace(0, 1, 11, dtype=np.float32), (5, 1))
    (outline,) = outlines(score_map, 0.62)
    assert outline.polygon[:, 0].min() == pytest.approx(6.2, abs=1e-5)


def test_full_map_is_outlined_to_its_edges() -> None:
    (outline,) = outlines(np.ones((4, 7), np.float32), 0.5)
    np.testing.assert_allclose(outline.polygon.min(axis=0), [-0.5, -0.5])
    np.testing.assert_allclose(outline.polygon.max(axis=0), [6.5, 3.5])
    assert outline.area == 28


def test_hole_is_left_out_of_the_area_and_keeps_its_own_island() -> None:
    score_map = np.zeros((11, 11), np.float32)
    score_map[1:10, 1:10] = 0.8
    score_map[3:8, 3:8] = 0.0
    score_map[5, 5] = 0.9
    ring, island = outlines(score_map, 0.5)
    assert (ring.area, island.area) == (81 - 25, 1)
    assert (ring.peak, island.peak) == (pytest.approx(0.8), pytest.approx(0.9))


def test_diagonal_scratch_is_one_region_of_many_pixels() -> None:
    (outline,) = outlines(np.eye(20, dtype=np.float32), 0.5, minimal_area=5)
    assert outline.area == 20
    assert inside(outline, (20, 20)).sum() == 20


def test_nothing_above_the_level() -> None:
    assert outlines(np.full((5, 5), 0.5, np.float32), 0.5) == []
    assert outlines(np.zeros((0, 5), np.float32), 0.5) == []


def test_specks_are_dropped_and_the_largest_comes_first() -> None:
    score_map = np.zeros((12, 12), np.float32)
    score_map[0, 0] = 1.0
    score_map[2:4, 2:4] = 0.7
    score_map[6:10, 6:10] = 0.6
    assert [outline.area for outline in outlines(score_map, 0.5)] == [16, 4, 1]
    assert [outline.area for outline in outlines(score_map, 0.5, minimal_area=4)] == [16, 4]


@pytest.mark.parametrize("bad", [np.zeros(4), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_impossible_maps_are_refused(bad: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="finite"):
        outlines(bad.astype(np.float32), 0.5)


@settings(max_examples=300, deadline=None)
@given(MAPS)
def test_one_outline_per_region_and_each_holds_its_pixels(score_map: NDArray[np.float32]) -> None:
    found = outlines(score_map, 0.5, tolerance=0.0)
    labels, count = ndimage.label(score_map > 0.5, structure=np.ones((3, 3)))
    assert len(found) == count
    sizes = [int((labels == index + 1).sum()) for index in range(count)]
    assert [outline.area for outline in found] == sorted(sizes, reverse=True)
    unclaimed = set(range(1, count + 1))
    for outline in found:
        covered = inside(outline, score_map.shape)
        # A region may lie in another's hole: the one that fits in size and peak is this one's.
        own = [
            index
            for index in sorted(unclaimed)
            if covered[labels == index].all()
            and (labels == index).sum() == outline.area
            and score_map[labels == index].max() == np.float32(outline.peak)
        ]
        assert own
        unclaimed.discard(own[0])
        filled = ndimage.binary_fill_holes(labels == own[0])
        assert (covered <= filled).all()


@settings(max_examples=100, deadline=None)
@given(MAPS, st.floats(0.05, 2.0))
def test_simplified_outlines_stay_near_and_have_a_surface(
    score_map: NDArray[np.float32], tolerance: float
) -> None:
    exact = outlines(score_map, 0.5, tolerance=0.0)
    simple = outlines(score_map, 0.5, tolerance=tolerance)
    for one, other in zip(exact, simple, strict=True):
        assert 3 <= len(other.polygon) <= len(one.polygon)
        corners = {tuple(corner) for corner in one.polygon}
        assert {tuple(corner) for corner in other.polygon} <= corners
        edges = np.stack([other.polygon, np.roll(other.polygon, -1, axis=0)], axis=1)
        steps = np.linspace(0, 1, 60)[:, None, None]
        outline = (edges[:, 0] * (1 - steps) + edges[:, 1] * steps).reshape(-1, 2)
        gaps = np.hypot(*(one.polygon[:, None] - outline[None]).transpose(2, 0, 1)).min(axis=1)
        assert gaps.max() <= tolerance + 0.1


def test_smooth_outline_of_a_large_disc_has_few_corners() -> None:
    rows, columns = np.indices((400, 400))
    distance = np.hypot(rows - 200, columns - 200)
    score_map = (1 / (1 + np.exp((distance - 100) / 5))).astype(np.float32)
    (outline,) = outlines(score_map, 0.5)
    assert len(outline.polygon) < 100
    assert shoelace(outline.polygon) == pytest.approx(np.pi * 100**2, rel=0.01)
