"""Verdicts about two rows: right as often as they say, and undecided where nothing can be known."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from omnial.studies.differences import Difference, differences, half_width, variance
from omnial.studies.row_figures import RowFigures, SeedFigures, from_text, to_text
from omnial.studies.study_rows import Row

CLASSES = ("bolt", "nut")


def row(
    name: str, values: Sequence[float], images: NDArray[np.float64] | None, **own: float
) -> RowFigures:
    """A row of seeds with these means; `images` is what the resamples add, None has none.

    (R,) for all seeds alike, (seeds, R) for each.
    """
    seeds = []
    for number, value in enumerate(values):
        figures: dict[str, float | None] = {"pixel_ap": value / 100, **own}
        replicates = {}
        if images is not None:
            added = images if images.ndim == 1 else images[number]
            replicates = {"pixel_ap": (value + added) / 100}
        by_class = dict.fromkeys(CLASSES, figures), dict.fromkeys(CLASSES, replicates)
        seeds.append(SeedFigures({"pixel_ap": value}, by_class[0], (), by_class[1]))
    published = {"pixel_ap": float(ord(name[0]))}
    return RowFigures(Row(name, name, "omnial", published=published), seeds)


def noise(seed: int, spread: float) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0.0, spread, 300)


def only(rows: Sequence[RowFigures]) -> Difference:
    (found,) = differences(rows, "pixel_ap")
    return found


@pytest.mark.parametrize(
    ("lower", "higher", "verdict"),
    [
        ((40.0, 41.0), (60.0, 61.0), "holds"),
        ((60.0, 61.0), (40.0, 41.0), "reversed"),
        ((40.0, 41.0), (41.3, 42.3), "undecided: 4 seeds would decide, if it stays"),
        ((40.0, 41.0), (40.9, 41.9), "undecided: 7 seeds would decide, if it stays"),
        ((40.0, 41.0), (40.2, 41.2), "undecided: more than 20 seeds would decide, if it stays"),
        ((40.0,), (60.0, 61.0), "undecided: one seed"),
        ((40.0,), (60.0,), "undecided: one seed"),
    ],
)
def test_verdicts_of_seeds(
    lower: tuple[float, ...], higher: tuple[float, ...], verdict: str
) -> None:
    found = only([row("a", lower, noise(0, 0.0)), row("b", higher, noise(1, 0.0))])

    assert found.verdict == verdict
    assert found.value == pytest.approx(np.mean(higher) - np.mean(lower))


def test_more_seeds_do_not_help_where_the_images_are_too_few() -> None:
    rows = [row("a", (40.0, 40.1), noise(0, 3.0)), row("b", (44.0, 44.1), noise(1, 3.0))]

    assert only(rows).verdict == "undecided: too few test images for any number of seeds"


def test_images_that_both_rows_find_hard_do_not_count() -> None:
    shared = noise(0, 3.0)
    rows = [row("a", (40.0, 40.1), shared), row("b", (44.0, 44.1), shared)]

    assert only(rows).verdict == "holds"
    assert only(rows).half_width == pytest.approx(4.303 * 0.1 / np.sqrt(2), rel=1e-3)


def test_results_without_resamples_have_a_difference_and_no_interval() -> None:
    found = only([row("a", (40.0, 41.0), None), row("b", (60.0, 61.0), noise(0, 1.0))])

    assert (found.half_width, found.verdict) == (None, "undecided: kept without resamples")


def test_a_row_on_the_plateau_decides_nothing() -> None:
    flat = row("b", (60.0, 61.0), noise(0, 0.1), psnr=19.0)
    found = only([row("a", (40.0, 41.0), noise(1, 0.1), psnr=27.0), flat])

    assert found.verdict == "undecided: b on the plateau"
    assert found.half_width is not None
    # But it does where rows differ in the number of images: then this is what is asked.
    rows = [found.lower, found.higher]
    few, many = (
        RowFigures(replace(r.row, published={}, images=n), r.seeds) for n, r in enumerate(rows, 1)
    )
    assert only([few, many]).verdict == "holds"


def test_the_spread_of_all_rows_counts_for_each_pair() -> None:
    pair = [row("a", (40.0, 40.1), noise(0, 0.1)), row("b", (44.0, 44.1), noise(1, 0.1))]
    unsteady = row("x", (20.0, 40.0), noise(2, 0.1))

    assert only(pair).verdict == "holds"
    assert differences([*pair, unsteady], "pixel_ap")[0].verdict.startswith("undecided")


def test_neighbours_stand_in_the_published_order_or_in_that_of_images() -> None:
    rows = [row(name, (50.0, 51.0), noise(0, 1.0)) for name in "cab"]
    named = [(d.lower.row.name, d.higher.row.name) for d in differences(rows, "pixel_ap")]
    assert named == [("a", "b"), ("b", "c")]
    budgets = [
        RowFigures(replace(r.row, published={}, images=count), r.seeds)
        for count, r in enumerate(rows, 1)
    ]
    named = [(d.lower.row.name, d.higher.row.name) for d in differences(budgets, "pixel_ap")]
    assert named == [("c", "a"), ("a", "b")]
    # A row that has not run is passed over.
    some = [row("a", (), None), rows[0], RowFigures(rows[2].row, ()), rows[1]]
    named = [(d.lower.row.name, d.higher.row.name) for d in differences(some, "pixel_ap")]
    assert named == [("a", "c")]


def test_what_images_mean_to_one_seed_alone_is_counted_once() -> None:
    """More seeds do help against it."""
    each = [np.stack([noise(2 * n, 3.0), noise(2 * n + 1, 3.0)]) for n in range(2)]
    rows = [row(name, (v, v + 1.5), e) for name, v, e in zip("ab", (40.0, 43.0), each, strict=True)]
    assert rows[0].variance_of_one_seed("pixel_ap") == pytest.approx(9.0, rel=0.15)
    assert "seeds would decide" in only(rows).verdict
    alone = [row("a", (40.0, 41.5), noise(0, 0.0)), row("b", (43.0, 44.5), noise(0, 0.0))]
    assert only(rows).half_width == pytest.approx(only(alone).half_width, rel=0.1)


@pytest.mark.parametrize("seeds", [2, 4])
@pytest.mark.parametrize(
    ("of_images", "of_seeds", "of_both"), [(1.0, 2.0, 0.0), (2.0, 0.5, 0.0), (1.0, 0.5, 1.5)]
)
def test_equal_rows_are_told_apart_no_more_often_than_claimed(
    seeds: int, of_images: float, of_seeds: float, of_both: float
) -> None:
    random, decided, trials = np.random.default_rng(5), 0, 400
    for trial in range(trials):
        rows = []
        for index, name in enumerate("abc"):
            # The images at hand shift each row, as its resamples say.
            shift = random.normal(0.0, of_images)
            values = 50.0 + shift + random.normal(0.0, math.hypot(of_seeds, of_both), seeds)
            each = random.normal(0.0, of_both, (seeds, 300))
            rows.append(row(name, list(values), noise(10 * trial + index, of_images) + each))
        decided += differences(rows, "pixel_ap")[0].verdict in ("holds", "reversed")

    # 5 % is claimed; 400 trials tell that from 8 %.
    assert decided / trials < 0.08


def test_variance_and_interval_are_those_of_the_textbook() -> None:
    # Two samples of a two-sample t test with equal variances: 4 degrees, t = 2.776.
    spread, degrees = variance([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [9.0]])
    assert (spread, degrees) == (2.5, 4)
    assert half_width(0.0, 6.0, 4) == pytest.approx(2.7764 * np.sqrt(6.0), rel=1e-4)
    assert half_width(4.0, 0.0, 1) == pytest.approx(1.96 * 2.0, rel=1e-3)


def test_replicates_are_kept_to_a_hundredth_of_a_point() -> None:
    values = np.random.default_rng(0).random(300)
    text = to_text(values)
    assert len(text) < 1500
    assert from_text(text) == pytest.approx(values, abs=0.51e-4)
