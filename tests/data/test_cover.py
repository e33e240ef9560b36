"""Pieces over an image: each pixel is covered, and pieces that agree change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnial.data.cover import OVERLAP, Blend, Cover, window_at, window_showing

lengths = st.integers(1, 90)
edges = st.integers(12, 120)


@settings(max_examples=40, deadline=None)
@given(lengths, lengths, edges, edges, st.integers(0, 2**32 - 1))
def test_pieces_that_agree_give_their_value_exactly(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    whole = np.random.default_rng(seed).random((2, height, width), np.float32)
    cover = Cover.over((height, width), (rows, columns))
    blend = Blend(cover, (2,), np.float64)
    seen = np.zeros((height, width), int)
    for part in cover.parts():
        piece = whole[(..., *part)]
        assert piece.shape[1:] == (min(rows, height), min(columns, width))
        blend.add(part, piece)
        seen[part] += 1
    assert seen.min() >= 1
    result = blend.result()
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, whole)


@settings(max_examples=40, deadline=None)
@given(lengths, lengths, edges, edges)
def test_the_weights_of_a_pixel_add_up_to_one(
    height: int, width: int, rows: int, columns: int
) -> None:
    cover = Cover.over((height, width), (rows, columns))
    total = np.zeros((height, width))
    for part in cover.parts():
        alone = Blend(cover, dtype=np.float64)
        shape = total[part].shape
        alone.add(part, np.ones(shape, np.float32))
        share = alone.result()
        assert share[part].min() > 0
        assert share.max() <= 1
        total += share
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_where_pieces_overlap_one_passes_smoothly_into_the_next() -> None:
    cover = Cover.over((32, 76), (32, 32))
    assert cover.columns.starts == (0, 22, 44)
    blend = Blend(cover, dtype=np.float64)
    for number, part in enumerate(cover.parts()):
        blend.add(part, np.full((32, 32), number, np.float32))
    line = blend.result()[16]
    assert (np.diff(line) >= 0).all()
    assert np.diff(line).max() < 0.2
    assert line[0] == 0
    assert line[-1] == 2


@settings(max_examples=40, deadline=None)
@given(lengths, lengths, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_window_lies_on_the_frame(height: int, width: int, down: float, across: float) -> None:
    window = (max(1, height // 2), max(1, width // 3))
    frame = np.zeros((height, width))
    assert frame[window_at((height, width), window, (down, across))].shape == window


def test_windows_reach_both_ends() -> None:
    parts = [window_at((4, 10), (4, 4), (0.5, share)) for share in np.linspace(0, 0.999, 50)]
    assert {part[1].start for part in parts} == set(range(7))
    assert {part[0].start for part in parts} == {0}


@pytest.mark.parametrize(("length", "windows"), [(256, 1), (321, 2), (448, 2), (614, 3)])
def test_number_of_windows(length: int, windows: int) -> None:
    columns = Cover.over((256, length), (256, 256)).columns
    assert len(columns.starts) == windows
    assert all(np.diff(columns.starts) <= (1 - OVERLAP) * 256)


def test_a_window_shows_some_of_the_region() -> None:
    region = np.zeros((32, 160), bool)
    region[:, :8] = True
    near = window_at((32, 160), (32, 32), (0.0, 0.01))
    assert window_showing(region, (32, 32), (0.0, 0.01)) == near
    for share in (0.3, 0.7, 0.999):
        assert window_showing(region, (32, 32), (0.0, share)) == (slice(0, 32), slice(0, 32))
