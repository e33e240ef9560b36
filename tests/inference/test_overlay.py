import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnial.inference.outlines import outlines
from omnial.inference.overlay import (
    ALARM,
    PREDICTED,
    TRUTH,
    draw_label,
    draw_outlines,
    heat,
    heat_stops,
    overlay,
)


def grey(height: int, width: int, level: int = 128) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB bytes."""
    unit = colours / 255.0
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def test_lightness_rises_evenly_with_the_score() -> None:
    levels = lightness(heat(np.linspace(0, 1, 256, dtype=np.float32)[None])[0].astype(float))
    # Bytes are rounded, so two neighbours may tie; steps of 32 levels must be alike.
    assert (np.diff(levels) > -0.3).all()
    steps = np.diff(levels[::32])
    assert steps.min() > 0.6 * steps.max()
    assert levels[0] < 1
    assert levels[-1] > 95


def test_scores_out_of_range_are_clipped() -> None:
    odd = heat(np.array([[-1.0, 2.0, np.nan, np.inf]]))[0]
    ends = heat(np.array([[0.0, 1.0]]))[0]
    np.testing.assert_array_equal(odd, ends[[0, 1, 0, 1]])


def test_the_legend_is_the_colour_map() -> None:
    stops = heat_stops(5)
    assert [score for score, _ in stops] == [0.0, 0.25, 0.5, 0.75, 1.0]
    for score, colour in stops:
        assert tuple(heat(np.array([[score]]))[0, 0]) == colour


def test_an_image_without_findings_is_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    kept = image.copy()
    np.testing.assert_array_equal(overlay(image, np.zeros((20, 30), np.float32), []), image)
    np.testing.assert_array_equal(image, kept)


def test_the_blend_follows_its_formula() -> None:
    image = grey(1, 201, 200)
    scores = np.linspace(0, 1, 201, dtype=np.float32)[None]
    s = scores[0].astype(float)[:, None]
    opacity = 0.65 * s**2 * (3 - 2 * s)
    wanted = 200 * (1 - opacity) + heat(scores)[0] * opacity
    # Scores and opacities are levels of 8 bits.
    np.testing.assert_allclose(overlay(image, scores, [])[0], wanted, atol=1.5)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="score map"):
        overlay(grey(4, 4), np.zeros((4, 5), np.float32), [])


def test_the_line_runs_along_the_outline_and_nowhere_else() -> None:
    box = np.array([[20, 30], [70, 30], [70, 60], [20, 60]], dtype=float)
    drawn = draw_outlines(grey(100, 100), [box], TRUTH)
    changed = (drawn != 128).any(axis=2)
    y, x = np.nonzero(changed)
    distance = np.maximum(np.abs(x - 45) - 25, np.abs(y - 45) - 15)
    assert np.abs(distance).max() <= 2
    for row, column in ((30, 45), (60, 45), (45, 20), (45, 70)):
        np.testing.assert_allclose(drawn[row, column], TRUTH, atol=40)


def test_outlines_of_a_score_map_lie_around_its_regions() -> None:
    scores = np.zeros((64, 64), dtype=np.float32)
    scores[20:40, 10:50] = 0.9
    found = [outline.polygon for outline in outlines(scores, 0.5)]
    drawn = overlay(grey(64, 64), scores, found)
    assert (drawn[0:17] == 128).all()
    # A line of one pixel between row 19 and 20: cyan has won over grey and over the heat.
    for row in (19, 20):
        assert drawn[row, 30, 1] > drawn[row, 30, 0]
        assert drawn[row, 30, 2] > drawn[row, 30, 0]


def test_no_rim_darkens_another_line() -> None:
    left, right = [(20, 10), (20, 90)], [(21, 10), (21, 90)]
    alone, beside = (draw_outlines(grey(100, 100), each) for each in ([left], [left, right]))
    np.testing.assert_array_equal(beside[20:80, 20], alone[20:80, 20])


def test_the_line_grows_with_the_image() -> None:
    def thickness(size: int) -> int:
        half = size // 2
        line = draw_outlines(grey(size, size), [[(half, 0), (half, size - 1)]])[half]
        return int((np.abs(line.astype(int) - PREDICTED) < 60).all(axis=1).sum())

    assert thickness(128) in (1, 2)
    assert thickness(1280) == pytest.approx(10, abs=1)


def test_large_outlines_are_drawn_too() -> None:
    corners = [(5, 5), (2494, 5), (2494, 1994), (5, 1994)]
    drawn = draw_outlines(grey(2000, 2500), [corners])
    assert tuple(drawn[5, 1200]) == PREDICTED
    assert tuple(drawn[1000, 1200]) == (128, 128, 128)


def test_a_single_point_is_a_dot_and_an_empty_polygon_nothing() -> None:
    drawn = draw_outlines(grey(64, 64), [[(32, 32)], np.empty((0, 2))])
    y, x = np.nonzero((drawn != 128).any(axis=2))
    assert len(y) > 0
    assert np.hypot(y - 32, x - 32).max() < 3


@given(
    st.lists(
        st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_any_polygon_can_be_drawn(
    polygon: list[tuple[float, float]], height: int, width: int
) -> None:
    image = grey(height, width)
    drawn = draw_outlines(image, [polygon])
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (image == 128).all()


@pytest.mark.parametrize("hot", ["top left", "all but bottom right"])
def test_a_label_hides_no_finding(hot: str) -> None:
    image, scores = np.full((200, 400, 3), 90, np.uint8), np.zeros((200, 400), np.float32)
    if hot == "top left":
        scores[3, 4] = 1.0
    else:
        scores[:100], scores[:, :200] = 0.8, 0.8
    drawn = image.copy()
    draw_label(drawn, ("far too long a text " * 9, "anomalous: 0.9"), ALARM, scores)
    changed = (drawn != image).any(axis=-1)
    assert changed.any()
    assert scores[changed].max() == 0
    assert (drawn == np.array(ALARM)).all(axis=-1)[changed].mean() > 0.4


def test_a_label_is_left_out_of_an_image_that_is_too_small_for_it() -> None:
    image = np.full((40, 60, 3), 90, np.uint8)
    draw_label(image, ("good: 0.1000", "good"), ALARM, np.zeros((40, 60), np.float32))
    assert (image == 90).all()
