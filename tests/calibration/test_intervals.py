import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from omnial.calibration.calibrate_folder import (
    false_alarm_interval,
    images_needed,
    share_interval,
)
from omnial.calibration.drift import SIGNIFICANCE, compare_scores
from omnial.models.thresholds import Calibration, calibrate, rank, threshold


@given(st.integers(1, 300), st.data())
def test_the_interval_is_that_of_the_beta_distribution(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    expected = stats.beta(n - k + 1, k).interval(0.95)
    assert false_alarm_interval(n, k) == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 300), st.data())
def test_the_interval_of_a_share_has_its_tails_on_either_side(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = share_interval(hits, n)
    assert low == pytest.approx(stats.beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0)
    assert high == pytest.approx(stats.beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0)


def test_the_interval_covers_the_true_rate_as_often_as_it_says() -> None:
    """The true rate of a threshold on uniform scores is one minus the threshold."""
    generator, n = np.random.default_rng(5), 40
    k = rank(n, 0.9)
    assert k is not None
    interval = false_alarm_interval(n, k)
    rates = [1 - threshold(generator.random(n), 0.9) for _ in range(2000)]  # type: ignore[operator]
    covered = np.mean([interval.low <= rate <= interval.high for rate in rates])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("n", "k"), [(0, 0), (5, 0), (5, 6)])
def test_impossible_ranks(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="rank"):
        false_alarm_interval(n, k)


@pytest.mark.parametrize("rate", [0.2, 0.05, 0.01])
def test_images_needed_are_enough_and_hardly_more(rate: float) -> None:
    needed = images_needed(rate, 2 * rate)
    assert needed is not None
    for n, enough in ((needed, True), (needed // 2, False)):
        k = rank(n, 1 - rate)
        assert (k is not None and false_alarm_interval(n, k).high <= 2 * rate) is enough


def test_no_number_of_images_is_enough_for_less_than_the_rate() -> None:
    assert images_needed(0.5, 1e-9) is None


def test_scores_and_tiles_are_kept_with_the_thresholds() -> None:
    calibration = calibrate({"a": [0.3, 0.1], "b": []}, 0.5, 0.4, tile=64)
    assert calibration.scores == {"a": (0.1, 0.3), "b": ()}
    assert Calibration.model_validate(calibration.model_dump()) == calibration
    assert "scores" not in calibration.summary()
    with pytest.raises(ValueError, match="scores"):
        Calibration.model_validate(calibration.summary())


@pytest.mark.parametrize(
    "change",
    [
        {"scores": {"a": [0.1]}},
        {"scores": {"a": [0.3, 0.1], "b": []}},
        {"scores": {"a": [0.1, "x"], "b": []}},
        {"scores": [0.1]},
        {"scores": None},
        {"tile": 0},
        {"tile": 2.5},
    ],
)
def test_impossible_scores_and_tiles_are_refused(change: dict[str, object]) -> None:
    good = calibrate({"a": [0.3, 0.1], "b": []}, 0.5, 0.4).model_dump(mode="json")
    with pytest.raises(ValueError, match=r"\w"):
        Calibration.model_validate({**good, **change})


class TestDrift:
    def test_is_the_two_sample_test(self) -> None:
        generator = np.random.default_rng(0)
        then, now = generator.random(60), 0.4 + 0.6 * generator.random(40)
        drift = compare_scores(then, now, 0.95, 0.05)
        expected = stats.ks_2samp(then, now)
        assert (drift.statistic, drift.p_value) == (expected.statistic, expected.pvalue)
        assert drift.above == int(np.sum(now > 0.95))
        assert drift.interval == share_interval(drift.above, 40)
        assert drift.shift == pytest.approx(np.median(now) - np.median(then))
        assert drift.different
        assert drift.drifted

    def test_more_alarms_alone_are_a_drift(self) -> None:
        then = np.linspace(0, 0.5, 50)
        now = np.append(np.linspace(0, 0.5, 90), np.full(10, 0.9))
        drift = compare_scores(then, now, 0.5, 0.01)
        assert (drift.different, drift.more_alarms, drift.drifted) == (False, True, True)

    def test_false_calls_are_as_rare_as_promised(self) -> None:
        generator = np.random.default_rng(1)
        calls = [
            compare_scores(generator.random(50), generator.random(50), 1.0, 0.05).different
            for _ in range(300)
        ]
        assert np.mean(calls) <= SIGNIFICANCE + 0.01
