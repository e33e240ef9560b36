import base64
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from omnial.metrics.ranking import Curve
from omnial.reporting.charts import (
    SERIES_COLOURS,
    Chart,
    curve_chart,
    line_style,
    score_histogram,
)

LINE = Curve(np.array([0.0, 0.25, 1.0]), np.array([0.0, 0.5, 1.0]))


def svg(chart: Chart) -> str:
    head, _, body = chart.uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(body).decode()


def lines(chart: Chart, colour: str) -> list[NDArray[np.float64]]:
    """(n, 2) points of each path that is stroked in this colour."""
    paths = re.findall(r'<path d="([^"]+)"[^>]*stroke: ([^;"]+)', svg(chart))
    return [
        np.array(re.findall(r"([-\d.]+) ([-\d.]+)", path), float)
        for path, stroke in paths
        if stroke == colour
    ]


def heights(chart: Chart, colour: str) -> list[float]:
    """Heights of the bars filled with this colour, in the drawing's units."""
    found = []
    for path, fill in re.findall(r'<path d="([^"]+)"[^>]*fill: ([^;"]+)', svg(chart)):
        if fill == colour:
            rows = [float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", path)]
            found.append(max(rows) - min(rows))
    return found


def test_a_curve_is_drawn_at_its_points() -> None:
    (curve,) = lines(curve_chart("image_roc", [LINE]), SERIES_COLOURS[0])
    start, end = curve[0], curve[-1]
    relative = (curve - start) / (end - start)
    np.testing.assert_allclose(relative, [[0, 0], [0.25, 0.5], [1, 1]], atol=1e-4)


def test_a_class_without_a_curve_leaves_the_others_their_colours() -> None:
    chart = curve_chart("image_pr", [None, LINE])
    assert len(lines(chart, SERIES_COLOURS[1])) == 1
    assert lines(chart, SERIES_COLOURS[0]) == []
    assert "1 classes" in chart.words


def test_many_classes_differ_in_colour_or_dashes() -> None:
    styles = [line_style(i) for i in range(4 * len(SERIES_COLOURS))]
    assert len({tuple(style.values()) for style in styles}) == len(styles)


@pytest.mark.parametrize("name", ["$x_1$", "$\\broken{", "<&>", "瓶"])
def test_names_are_words_and_not_formulas(name: str) -> None:
    assert name in score_histogram(np.array([0.1]), np.array([0.9]), [0.5], name).words


def test_the_same_chart_has_the_same_bytes_and_loads_nothing() -> None:
    first = curve_chart("image_roc", [LINE])
    assert first == curve_chart("image_roc", [LINE])
    assert not re.search(r'(href|src)="(?!#)|url\((?!#)|<script|@import', svg(first))


def test_bars_show_the_counts() -> None:
    good, bad = np.array([0.1] * 6 + [0.3] * 3), np.array([0.8] * 2 + [0.9] * 4)
    chart = score_histogram(good, bad, [0.5], "cap")
    for colour, counts in (("#5b7fa6", [6, 3]), ("#c2571a", [2, 4])):
        bars = heights(chart, colour)
        shares = sorted(bar / max(bars) for bar in bars if bar > 0)
        np.testing.assert_allclose(shares, sorted(np.array(counts) / max(counts)), atol=1e-3)
    assert "threshold 0.500" in svg(chart)


@pytest.mark.parametrize(
    ("good", "bad", "thresholds"),
    [([], [], []), ([0.5], [], []), ([], [0.2, 0.2], [0.2]), ([1e6, -3.0], [0.0], [2e6])],
)
def test_extreme_scores_are_drawn(
    good: list[float], bad: list[float], thresholds: list[float]
) -> None:
    drawing = svg(score_histogram(np.array(good), np.array(bad), thresholds, "cap"))
    assert drawing.count("none in the test set</text>") == (not good) + (not bad)
    assert ("threshold" in drawing) == bool(thresholds)
    assert "nan" not in drawing
