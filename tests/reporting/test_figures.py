import re
from xml.etree import ElementTree

import numpy as np
import pytest

from omnial.metrics.ranking import Curve
from omnial.reporting.figures import (
    CURVE_KINDS,
    SERIES_COLOURS,
    curve_chart,
    score_histogram,
    series_colour,
    series_dashes,
)

LINE = Curve(np.array([0.0, 0.25, 1.0]), np.array([0.0, 0.5, 1.0]))


def titles(drawing: str) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(drawing).iter("title")]


def heights(drawing: str, variable: str) -> list[float]:
    """Heights of the bars filled with this colour, in the drawing's units."""
    found = []
    for path in ElementTree.fromstring(drawing).iter("path"):
        if f"fill: var({variable})" in path.get("style", ""):
            rows = [float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", path.get("d", ""))]
            found.append(max(rows) - min(rows))
    return found


def test_a_curve_is_drawn_in_its_place() -> None:
    drawing = curve_chart(CURVE_KINDS[0], [("cap", LINE)])
    root = ElementTree.fromstring(drawing)
    groups = [g for g in root.iter("g") if g.find("title") is not None]
    shapes = {}
    for group in groups:
        name, path = group.findtext("title"), group.find("path")
        assert path is not None
        shapes[name] = np.array(re.findall(r"([-\d.]+) ([-\d.]+)", path.get("d", "")), float)
    # The guessing line runs from corner to corner: the curve's middle point lies at 1/4 and 1/2.
    start, end = shapes["guessing"]
    np.testing.assert_allclose(
        (shapes["cap"] - start) / (end - start), [[0, 0], [0.25, 0.5], [1, 1]], atol=1e-4
    )


def test_a_class_without_a_curve_leaves_the_others_their_colours() -> None:
    drawing = curve_chart(CURVE_KINDS[1], [("cap", None), ("label", LINE)])
    assert titles(drawing) == ["label"]
    assert "--series-1" in drawing
    assert "--series-0" not in drawing


def test_many_classes_differ_in_colour_or_dashes() -> None:
    looks = [(series_colour(i), series_dashes(i)) for i in range(4 * SERIES_COLOURS)]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("name", ["$x_1$", "$\\broken{", "<&>", "瓶"])
def test_names_are_text_and_not_formulas(name: str) -> None:
    assert name in titles(curve_chart(CURVE_KINDS[0], [(name, LINE)]))
    histogram = score_histogram(np.array([0.1]), np.array([0.9]), [0.5], "k", name)
    assert name in ElementTree.fromstring(histogram).get("aria-label", "")


def test_drawings_fit_into_a_page() -> None:
    first = curve_chart(CURVE_KINDS[0], [("cap", LINE)])
    assert first == curve_chart(CURVE_KINDS[0], [("cap", LINE)])
    assert not re.search(r"xmlns|http|<style|<metadata|DOCTYPE|#0102", first)
    second = curve_chart(CURVE_KINDS[2], [("cap", LINE)])
    both = re.findall(r'\sid="([^"]+)"', first + second)
    assert len(both) == len(set(both))


def test_bars_show_the_counts() -> None:
    good, bad = np.array([0.1] * 6 + [0.3] * 3), np.array([0.8] * 2 + [0.9] * 4)
    drawing = score_histogram(good, bad, [0.5], "k", "cap")
    for variable, counts in (("--good", [6, 3]), ("--bad", [2, 4])):
        bars = heights(drawing, variable)
        shares = sorted(bar / max(bars) for bar in bars if bar > 0)
        np.testing.assert_allclose(shares, sorted(np.array(counts) / max(counts)), atol=1e-3)
    assert "threshold 0.500" in drawing


@pytest.mark.parametrize(
    ("good", "bad", "thresholds"),
    [([], [], []), ([0.5], [], []), ([], [0.2, 0.2], [0.2]), ([1e6, -3.0], [0.0], [2e6])],
)
def test_extreme_scores_are_drawn(
    good: list[float], bad: list[float], thresholds: list[float]
) -> None:
    drawing = score_histogram(np.array(good), np.array(bad), thresholds, "k", "cap")
    assert drawing.count("none in the test set") == (not good) + (not bad)
    assert ("threshold" in drawing) == bool(thresholds)
    assert "nan" not in drawing
