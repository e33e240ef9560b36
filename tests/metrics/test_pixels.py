from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from omnial.metrics import pixels
from omnial.metrics.pixels import PixelFigures, PixelSummary

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def summarise(
    maps: list[Floats],
    masks: list[Bools | None],
    kinds: list[str] | None = None,
    valid: list[Bools | None] | None = None,
) -> PixelSummary:
    kinds = kinds or ["good" if mask is None else "spot" for mask in masks]
    figures = PixelFigures()
    for kind, score_map, mask, inside in zip(
        kinds, maps, masks, valid or [None] * len(maps), strict=True
    ):
        figures.add(kind, score_map, mask, inside)
    return figures.finish()


def naive_aupro(maps: list[Floats], masks: list[Bools], limit: float = 0.3) -> float:
    """One threshold after the other, one region after the other, then trapezoids."""
    regions = []
    for score_map, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [score_map[labels == label] for label in range(1, count + 1)]
    normal = np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)])
    points = [(0.0, 0.0)]
    for threshold in sorted({float(value) for m in maps for value in m.ravel()}, reverse=True):
        overlap = np.mean([np.mean(region >= threshold) for region in regions])
        points.append((float(np.mean(normal >= threshold)), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        else:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
            break
    return area / limit


def check_against_oracles(summary: PixelSummary, maps: list[Floats], masks: list[Bools]) -> None:
    scores, labels = (
        np.concatenate([m.ravel() for m in maps]),
        np.concatenate([m.ravel() for m in masks]),
    )
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    expected = {
        "pixel_auroc": roc_auc_score(labels, scores),
        "pixel_ap": average_precision_score(labels, scores),
        "pixel_f1_max": f1.max(),
        "aupro": naive_aupro(maps, masks),
    }
    assert summary.figures == pytest.approx(expected, rel=0, abs=1e-9)


def random_case(
    seed: int, levels: int | None, images: int = 6, shape: tuple[int, int] = (17, 23)
) -> tuple[list[Floats], list[Bools]]:
    rng = np.random.default_rng(seed)
    masks = [ndimage.gaussian_filter(rng.random(shape), 2) > 0.52 for _ in range(images)]
    masks[0][:] = False
    maps = [rng.normal(size=shape) + 0.7 * mask for mask in masks]
    if levels:
        maps = [np.round(m * levels) / levels for m in maps]
    return [m.astype(np.float32) for m in maps], masks


@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize("piece", [5, 1 << 19])
def test_figures_equal_scikit_learn_and_a_naive_aupro(
    levels: int | None, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "_PIECE", piece)
    maps, masks = random_case(3, levels)
    check_against_oracles(summarise(maps, [None, *masks[1:]]), maps, masks)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.int8, (3, 4, 5), elements=st.integers(-2, 2)),
    arrays.arrays(np.bool_, (3, 4, 5)),
)
def test_figures_equal_the_oracles_on_small_tied_maps(values: Floats, masks: Bools) -> None:
    maps = list((values / 2).astype(np.float32))
    summary = summarise(maps, list(masks))
    if masks.any() and not masks.all():
        check_against_oracles(summary, maps, list(masks))
    else:
        assert set(summary.figures.values()) == {None}
        assert summary.curves == {}


def test_a_kind_is_ranked_among_its_own_and_the_good_images() -> None:
    maps, masks = random_case(8, 4, images=9)
    kinds = ["good", "dent", "scratch"] * 3
    masks = [mask & (kind != "good") for mask, kind in zip(masks, kinds, strict=True)]
    summary = summarise(maps, list(masks), kinds)
    check_against_oracles(summary, maps, masks)
    for kind in ("dent", "scratch"):
        part = [i for i, other in enumerate(kinds) if other in ("good", kind)]
        alone = summarise([maps[i] for i in part], [masks[i] for i in part], None)
        assert summary.kinds[kind] == pytest.approx(alone.figures, abs=1e-12)
    assert set(summary.kinds) == {"dent", "scratch"}


def test_equal_scores_are_one_threshold() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:4, 2:6] = True
    summary = summarise([np.full((8, 8), 0.25, np.float32)], [mask])
    # The whole curve is one straight line, of which the part up to 0.3 is 0.15 high on average.
    assert summary.figures == pytest.approx(
        {"pixel_auroc": 0.5, "pixel_ap": 8 / 64, "pixel_f1_max": 16 / 72, "aupro": 0.15}
    )


def test_negative_zero_ties_with_zero_and_keeps_its_label() -> None:
    mask = np.array([[True, True, False, False]])
    summary = summarise([np.array([[0.0, -0.0, 0.0, -0.0]], np.float32)], [mask])
    assert summary.figures["pixel_auroc"] == 0.5
    assert summary.figures["pixel_ap"] == 0.5


def test_diagonal_neighbours_are_one_region() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[1, 1] = mask[2, 2] = mask[3, 1] = True
    mask[5, 5] = True
    score_map = np.zeros((6, 6), np.float32)
    score_map[5, 5] = 1.0
    score_map[1, 1] = 0.5
    # Regions of 3 and 1 pixels: 1 + 1/3 of them found without a false positive; the rest rises
    # in a straight line over the whole range, 0.15 high on average up to 0.3.
    expected = (1 + 1 / 3) / 2 + (2 / 3) / 2 * 0.15
    assert summarise([score_map], [mask]).figures["aupro"] == pytest.approx(expected, abs=1e-12)


def test_pixels_outside_the_valid_area_do_not_count() -> None:
    maps, masks = random_case(5, 3)
    valid = np.zeros(maps[0].shape, dtype=bool)
    valid[3:12, 5:20] = True
    inside = summarise(
        [m[3:12, 5:20] for m in maps], [None, *(mask[3:12, 5:20] for mask in masks[1:])]
    )
    spoiled = [np.where(valid, m, np.float32(1e6)) for m in maps]
    whole = summarise(spoiled, [None, *masks[1:]], valid=[valid] * len(maps))
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max"):
        assert whole.figures[name] == pytest.approx(inside.figures[name], abs=1e-12)


def test_a_region_cut_by_the_valid_area_stays_one_region() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 1:6] = True
    mask[4, 0] = True
    valid = np.ones((5, 7), dtype=bool)
    valid[2, 3] = False
    score_map = np.zeros((5, 7), np.float32)
    score_map[2, 1:3] = 1.0
    aupro = summarise([score_map], [mask], valid=[valid]).figures["aupro"]
    # Half of one of two regions is found at once, three quarters of a mean share ramp up.
    assert aupro == pytest.approx(0.25 + 0.75 * 0.15, abs=1e-12)


def test_a_region_outside_the_valid_area_is_no_region() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[0, 0] = mask[4, 6] = True
    valid = np.ones((5, 7), dtype=bool)
    valid[4, 6] = False
    score_map = mask.astype(np.float32)
    assert summarise([score_map], [mask], valid=[valid]).figures["aupro"] == 1.0


def test_maps_of_another_type_and_layout_are_read_as_they_are() -> None:
    maps, masks = random_case(6, 3)
    other = [np.asfortranarray(m.astype(">f8")) for m in maps]
    assert summarise(other, list(masks)).figures == summarise(maps, list(masks)).figures
    with pytest.raises(ValueError, match="not finite"):
        PixelFigures().add("good", np.full((2, 2), np.inf))


def test_several_threads_sort_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    maps, masks = random_case(8, 4, images=9)
    kinds = ["good", "dent", "scratch"] * 3
    masks = [mask & (kind != "good") for mask, kind in zip(masks, kinds, strict=True)]
    check_against_oracles(summarise(maps, list(masks), kinds), maps, masks)


def test_perfect_and_reversed_scores() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[4:6, 4:6] = True
    assert set(summarise([mask.astype(np.float32)], [mask]).figures.values()) == {1.0}
    reversed_scores = summarise([-mask.astype(np.float32)], [mask]).figures
    assert reversed_scores["pixel_auroc"] == 0.0
    assert reversed_scores["aupro"] == 0.0


@pytest.mark.parametrize("anomalous", [True, False])
def test_one_label_alone_has_no_figures(anomalous: bool) -> None:
    mask = np.full((4, 4), anomalous)
    summary = summarise([np.random.default_rng(0).random((4, 4), np.float32)], [mask])
    assert set(summary.figures.values()) == {None}
    assert set(summary.kinds["spot"].values()) == {None}
    assert summary.curves == {}


def test_no_maps_at_all() -> None:
    summary = PixelFigures().finish()
    assert set(summary.figures.values()) == {None}


def test_curves_are_exact_points_within_the_limit() -> None:
    maps, masks = random_case(11, None, images=10, shape=(40, 40))
    curves = summarise(maps, list(masks)).curves
    scores, labels = (
        np.concatenate([m.ravel() for m in maps]),
        np.concatenate([m.ravel() for m in masks]),
    )
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    exact = set(zip(fpr.round(12), tpr.round(12), strict=True))
    roc = curves["pixel_roc"]
    assert set(zip(roc.x.round(12), roc.y.round(12), strict=True)) <= exact
    assert 300 < roc.x.size <= 500
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0.0, 0.0, 1.0, 1.0)
    precision, recall, _ = precision_recall_curve(labels, scores)
    exact = set(zip(recall.round(12), precision.round(12), strict=True))
    pr = curves["pixel_pr"]
    assert set(zip(pr.x.round(12), pr.y.round(12), strict=True)) <= exact
    assert np.all(np.diff(pr.x) >= 0)
    # The stored ROC curve still has the area of the full one.
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    figures = PixelFigures()
    with pytest.raises(ValueError, match="not finite"):
        figures.add("good", np.full((4, 4), value, np.float32))


def test_a_mask_of_another_shape_is_refused() -> None:
    figures = PixelFigures()
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        figures.add("good", np.zeros((4, 4), np.float32), np.zeros((4, 5), bool))
