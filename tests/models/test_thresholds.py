import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnial.calibration.drift import compare_scores
from omnial.data.records import ImageRecord
from omnial.errors import UserError
from omnial.evaluation.result import ImageResult
from omnial.models.thresholds import (
    Calibration,
    calibrate,
    finding,
    is_anomalous,
    lowered,
    share_above,
    threshold,
)

SCORES = st.lists(st.floats(0, 1), max_size=60)


@given(SCORES, st.integers(1, 99))
def test_is_the_order_statistic_of_the_exact_rank(scores: list[float], percent: int) -> None:
    rank = math.ceil((len(scores) + 1) * Fraction(percent, 100))
    expected = sorted(scores)[rank - 1] if rank <= len(scores) else None
    assert threshold(scores, percent / 100) == expected


def test_small_sets_in_closed_form() -> None:
    scores = np.arange(1, 20) / 100
    assert threshold(scores, 0.95) == 0.19
    assert threshold(scores[:18], 0.95) is None
    assert threshold(scores, 0.5) == 0.1
    assert threshold([], 0.5) is None


def test_rounding_of_q_does_not_shift_the_rank() -> None:
    assert threshold(range(1, 100), 1.0 - 0.07) == 93.0
    assert threshold(range(1, 100), 1.0 - 0.71) == 29.0


def test_share_of_false_alarms_is_kept_on_new_images() -> None:
    generator = np.random.default_rng(3)
    alarms = [
        generator.random() > threshold(generator.random(39), 0.9)  # type: ignore[operator]
        for _ in range(4000)
    ]
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.02)


@given(st.floats(0, 0.9998), st.floats(-5e-5, 5e-5))
def test_a_score_equal_to_the_threshold_but_for_float_noise_is_good(
    limit: float, noise: float
) -> None:
    assert not is_anomalous(limit + noise, limit)
    assert not is_anomalous(float(np.float32(limit)), limit)
    assert is_anomalous(limit + 2e-4, limit)


def test_a_threshold_just_below_the_highest_score_can_be_exceeded() -> None:
    for limit in (0.9999, 0.99999, 1.0 - 1e-7):
        assert is_anomalous(1.0, limit)
        assert not is_anomalous(limit, limit)
    assert not is_anomalous(1.0, 1.0)


def test_every_count_of_verdicts_makes_the_same_comparison() -> None:
    limit = 0.5
    scores = [limit - 1e-3, limit, limit + 5e-5, limit + 1e-3]
    expected = [False, False, False, True]
    assert [is_anomalous(score, limit) for score in scores] == expected
    assert compare_scores([limit] * 4, scores, limit, 0.1).above == 1
    record = ImageRecord(Path("1.png"), "bolt", "test", "good")
    images = [ImageResult(record, score, limit) for score in scores]
    assert [image.anomalous_verdict for image in images] == expected


@pytest.mark.parametrize("scores", [[0.1, math.nan], [math.inf], [[0.1, 0.2]]])
def test_impossible_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        threshold(scores, 0.5)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 1.1, math.nan])
def test_impossible_quantiles_are_refused(q: float) -> None:
    with pytest.raises(ValueError, match="q must lie"):
        threshold([0.1, 0.2], q)


def test_class_with_too_few_images_takes_the_pooled_threshold() -> None:
    many, few = np.arange(30) / 100, np.array([0.9, 0.8])
    calibration = calibrate({"many": many, "few": few, "none": []}, 0.5, 0.1)
    assert calibration.per_class == {"many": 0.27, "few": None, "none": None}
    # ceil(33 x 0.9) = 30 of 32 scores, of which the two largest are those of `few`.
    assert calibration.pooled == 0.29
    assert calibration.counts == {"many": 30, "few": 2, "none": 0}
    assert calibration.threshold_for("many") == 0.27
    assert calibration.threshold_for("few") == 0.29
    assert calibration.threshold_for("none") == 0.29
    assert not calibration.pooled_is_largest
    assert len(calibration.notes()) == 1
    assert "few, none" in calibration.notes()[0]
    # Of n scores the largest is the threshold from (n + 1) 0.9 = n on.
    assert "From 9 good pictures" in calibration.notes()[0]


def test_pooled_of_too_few_is_the_largest_score_and_says_so() -> None:
    calibration = calibrate({"a": [0.1, 0.3], "b": [0.2]}, 0.5, 0.05)
    assert calibration.pooled == 0.3
    assert calibration.pooled_is_largest
    assert len(calibration.notes()) == 2


def test_enough_images_need_no_note() -> None:
    assert calibrate({"a": np.arange(40) / 40}, 0.5, 0.05).notes() == ()


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), SCORES, min_size=1, max_size=5).filter(
        lambda scores: any(scores.values())
    ),
    st.floats(0.01, 0.5),
)
def test_without_a_class_the_largest_threshold_counts(
    scores: dict[str, list[float]], rate: float
) -> None:
    calibration = calibrate(scores, 0.5, rate)
    each = [calibration.threshold_for(name) for name in scores]
    assert calibration.threshold_for(None) == max(each)
    stored = json.loads(json.dumps(calibration.model_dump(mode="json")))
    assert Calibration.model_validate(stored) == calibration


def test_unknown_class_is_an_error() -> None:
    with pytest.raises(KeyError):
        calibrate({"a": [0.1]}, 0.5, 0.1).threshold_for("b")


def test_no_validation_image_at_all_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="validation_share"):
        calibrate({"a": [], "b": []}, 0.5, 0.1)


GOOD = calibrate({"a": [0.1, 0.2]}, 0.5, 0.5).model_dump(mode="json")


@pytest.mark.parametrize(
    "change",
    [
        {"pooled": None},
        {"pooled": "0.5"},
        {"pooled": True},
        {"pixel": math.nan},
        {"false_alarm_rate": 1.0},
        {"counts": {"b": 2}},
        {"counts": {"a": -2}},
        {"counts": {"a": 2.5}},
        {"counts": [2]},
        {"per_class": {"a": [0.2]}},
        {"per_class": {"a": math.inf}},
        {"surplus": 1},
    ],
)
def test_reading_is_strict(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Calibration.model_validate({**GOOD, **change})


@pytest.mark.parametrize("values", [None, [], {}, {k: v for k, v in GOOD.items() if k != "pixel"}])
def test_missing_keys_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match="Calibration"):
        Calibration.model_validate(values)


@given(st.floats(0, 1), SCORES, SCORES, st.floats(0.01, 0.5))
def test_missed_defects_lower_a_threshold_as_far_as_the_rate_allows(
    before: float, missed: list[float], normal: list[float], rate: float
) -> None:
    after = lowered(before, missed, normal, rate)

    def alarms(limit: float) -> float:
        return sum(is_anomalous(score, limit) for score in normal) / max(len(normal), 1)

    assert after <= before
    assert alarms(after) <= max(rate, alarms(before))
    assert lowered(after, missed, normal, rate) == after
    for score in missed:
        assert is_anomalous(score, finding(score))
        if normal and alarms(finding(score)) <= rate:
            assert is_anomalous(score, after)
    if after < before:
        assert after in [finding(score) for score in missed]
    if not normal:
        assert after == before
        assert share_above(normal, before) is None


@given(SCORES, SCORES, st.one_of(st.none(), st.floats(0, 1)))
def test_a_changed_class_leaves_the_others(
    a: list[float], b: list[float], own: float | None
) -> None:
    before = calibrate({"a": [0.5, 0.1], "b": a}, 0.5, 0.3, tile=64)
    after = before.changed({"b": b, "c": a}, {"b": own, "c": 0.25})
    assert after.scores == {"a": (0.1, 0.5), "b": tuple(sorted(b)), "c": tuple(sorted(a))}
    assert after.per_class == {"a": before.per_class["a"], "b": own, "c": 0.25}
    assert (after.pooled, after.tile) == (before.pooled, 64)
    assert Calibration.model_validate_json(after.model_dump_json()) == after
