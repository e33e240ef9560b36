"""Figures of resamples are those that scikit-learn gives for the weights of the pixels."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from omnial.metrics.bootstrap import bin_counts, bin_edges, ranked, resample

STRATA = np.array([0] * 9 + [2] * 3 + [3] * 8)


def test_draws_keep_the_strata_and_depend_on_nothing_else() -> None:
    weights = resample("bolt", STRATA, 50)

    assert weights.shape == (50, STRATA.size)
    for own in (slice(0, 9), slice(9, 12), slice(12, 20)):
        assert set(weights[:, own].sum(1)) == {STRATA[own].size}
    assert np.array_equal(weights, resample("bolt", STRATA.copy(), 50))
    assert not np.array_equal(weights, resample("nut", STRATA, 50))


def test_images_are_drawn_as_often_as_with_replacement() -> None:
    weights = resample("bolt", np.zeros(20, np.int64), 4000)

    # Of a multinomial draw of n among n: mean 1, variance 1 - 1 / n.
    assert weights.mean(0) == pytest.approx(np.ones(20), abs=0.06)
    assert weights.var() == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("ties", [False, True])
def test_figures_of_pixels_are_exact_up_to_the_width_of_a_bin(ties: bool) -> None:
    random = np.random.default_rng(3)
    masks = [random.random((24, 24)) < (0.0 if i < 9 else 0.08) for i in range(STRATA.size)]
    maps = [
        # Most scores crowd at 0, as a network's do.
        (random.beta(0.2, 6.0, mask.shape) + mask * random.random() * 0.3).astype(np.float32)
        for mask in masks
    ]
    if ties:
        maps = [np.round(scores, 2) for scores in maps]
    normal = [scores[~mask] for scores, mask in zip(maps, masks, strict=True)]
    anomalous = [scores[mask] for scores, mask in zip(maps, masks, strict=True)]
    weights = resample("bolt", STRATA, 6)

    edges = bin_edges(normal, anomalous)
    found = ranked(weights, bin_counts(normal, edges), bin_counts(anomalous, edges))

    scores, labels = np.concatenate(maps).ravel(), np.concatenate(masks).ravel()
    for index, own in enumerate(weights):
        each = np.repeat(own, masks[0].size)
        auroc = roc_auc_score(labels, scores, sample_weight=each)
        ap = average_precision_score(labels, scores, sample_weight=each)
        assert found.auroc[index] == pytest.approx(auroc, abs=1e-4)
        assert found.average_precision[index] == pytest.approx(ap, abs=5e-4)
