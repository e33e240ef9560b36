import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from omnial.metrics import ranking
from omnial.metrics.ranking import Curve


def check(scores: list[float], labels: list[bool]) -> None:
    counts = ranking.count(scores, labels)
    assert counts is not None
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    assert ranking.auroc(counts) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    ap = average_precision_score(labels, scores)
    assert ranking.average_precision(counts) == pytest.approx(ap, abs=1e-9)
    assert ranking.f1_max(counts) == pytest.approx(f1, abs=1e-9)
    roc, pr = ranking.roc_curve(counts), ranking.pr_curve(counts)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.stack([roc.x, roc.y]), np.stack([fpr, tpr]), atol=1e-12)
    np.testing.assert_allclose(pr.x, recall[::-1], atol=1e-12)
    np.testing.assert_allclose(pr.y, precision[::-1], atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=2, max_size=40))
def test_figures_and_curves_equal_scikit_learn(samples: list[tuple[float, bool]]) -> None:
    scores, labels = [s for s, _ in samples], [label for _, label in samples]
    if len(set(labels)) == 1:
        assert ranking.count(scores, labels) is None
    else:
        check(scores, labels)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=40))
def test_ties_equal_scikit_learn(samples: list[tuple[int, bool]]) -> None:
    scores, labels = [s / 3 for s, _ in samples], [label for _, label in samples]
    if len(set(labels)) == 2:
        check(scores, labels)


def test_equal_scores_and_negative_zero() -> None:
    check([0.5] * 5, [True, False, True, False, False])
    check([0.0, -0.0, 0.0, -0.0], [True, False, False, True])


def test_thinning_keeps_points_of_the_curve_and_both_ends() -> None:
    x = np.linspace(0, 1, 10_000) ** 2
    curve = Curve(x, np.sqrt(x))
    thin = ranking.thin(curve, 100)
    assert 50 < thin.x.size <= 100
    assert set(zip(thin.x, thin.y, strict=True)) <= set(zip(curve.x, curve.y, strict=True))
    assert (thin.x[0], thin.x[-1]) == (0.0, 1.0)
    assert np.max(np.hypot(np.diff(thin.x), np.diff(thin.y))) < 0.05


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        ranking.count([0.0, value], [True, False])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        ranking.count([0.0, 1.0], [True])
