import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from omnial.config.settings import TrainingSettings
from omnial.errors import UserError
from omnial.training.schedule import Budget, learning_rate, pixels_of, planned_steps


def test_step_schedule_drops_at_80_and_90_percent() -> None:
    settings = TrainingSettings(learning_rate=1e-4, warmup_steps=0)
    rates = [learning_rate(step, 100, settings) for step in (0, 79, 80, 89, 90, 99)]
    assert rates == pytest.approx([1e-4, 1e-4, 2e-5, 2e-5, 4e-6, 4e-6])


def test_cosine_falls_to_zero_after_a_linear_warm_up() -> None:
    settings = TrainingSettings(learning_rate=1.0, schedule="cosine", warmup_steps=10)
    assert [learning_rate(step, 110, settings) for step in (0, 4, 9)] == pytest.approx(
        [0.1, 0.5, 1.0]
    )
    assert learning_rate(60, 110, settings) == pytest.approx(0.5)
    assert learning_rate(110, 110, settings) == pytest.approx(0.0)
    assert learning_rate(85, 110, settings) == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))


def test_an_unmeasured_budget_keeps_the_peak() -> None:
    settings = TrainingSettings(learning_rate=1.0, schedule="cosine", warmup_steps=10)
    assert learning_rate(15, None, settings) == 1.0


@pytest.mark.parametrize(
    ("budget", "steps"),
    [({"steps": 7}, 7), ({"images": 50}, 3), ({"minutes": 1.0}, None), ({}, 10_000)],
)
def test_planned_steps(budget: dict[str, float], steps: int | None) -> None:
    assert planned_steps(TrainingSettings.model_validate({"batch_size": 20, **budget})) == steps


def test_quarters_steps_come_first() -> None:
    settings = TrainingSettings(quarter_share=0.25, steps=8)
    assert [pixels_of(step, 8, settings) for step in range(8)] == ["mixed"] * 2 + ["whole"] * 6
    whole = TrainingSettings(steps=8)
    assert [pixels_of(step, 8, whole) for step in range(8)] == ["whole"] * 8


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_smaller_images_come_evenly_in_the_steps_after_them(share: float) -> None:
    settings = TrainingSettings(quarter_share=0.5, half_share=share, steps=800)
    kinds = [pixels_of(step, 800, settings) for step in range(800)]
    assert kinds[:400] == ["mixed"] * 400
    for start in range(400, 800, 40):
        assert kinds[start : start + 40].count("half") == pytest.approx(40 * share, abs=1)
    assert "mixed" not in kinds[400:]


def test_a_measured_run_tries_both_kinds_of_step() -> None:
    settings = TrainingSettings(quarter_share=0.5, minutes=1.0)
    kinds = [pixels_of(step, None, settings) for step in range(20)]
    assert kinds == ["mixed"] * 15 + ["whole"] * 5
    # A resumed run, which knows its length, must draw its first steps the same way.
    assert [pixels_of(step, 400, settings) for step in range(20)] == kinds
    assert pixels_of(199, 400, settings) == "mixed"
    assert pixels_of(200, 400, settings) == "whole"


def timed(minutes: float, pace: list[float], quarter_share: float = 0.0) -> Budget:
    """A budget that has seen steps of the given seconds."""
    budget = Budget(TrainingSettings(minutes=minutes, quarter_share=quarter_share))
    for step, seconds in enumerate(pace, start=1):
        budget.count(step, seconds)
    return budget


def test_a_time_budget_is_measured_without_the_first_steps() -> None:
    budget = timed(1.0, [3.0] * 5 + [0.125] * 15)
    assert budget.total_steps == 20 + int((60 - 15 - 15 * 0.125) / 0.125)


def test_a_time_budget_counts_both_kinds_of_step_at_their_own_pace() -> None:
    budget = timed(1.0, [2.0] * 5 + [0.125] * 10 + [1.0] + [0.5] * 4, quarter_share=0.75)
    left = 60 - (10 + 1.25 + 1 + 2)
    assert budget.total_steps == int((left + 20 * 0.125) / (0.75 * 0.125 + 0.25 * 0.5))


def one_that_waits(step: int, _: float) -> float:
    return 45.0 if step == 300 else 1.0


@pytest.mark.parametrize(
    ("quarter_share", "half_share"), [(0.0, 0.0), (0.85, 0.0), (0.85, 0.5), (0.0, 0.5)]
)
@pytest.mark.parametrize(
    ("slowness", "steps"),
    [
        (lambda step, share: 1.0, 1.0),
        (lambda step, share: 2.0 if share > 0.5 else 1.0, 0.75),  # half as fast from its middle on
        (lambda step, share: 2.0 if share < 0.5 else 1.0, 1.5),  # and until then
        (lambda step, share: 2.0 if share > 0.95 else 1.0, 0.97),
        (one_that_waits, 0.92),
    ],
)
def test_a_time_budget_follows_the_machine_and_ends_at_its_low_rate(
    slowness: Callable[[int, float], float],
    steps: float,
    quarter_share: float,
    half_share: float,
) -> None:
    """Ten minutes by a clock of our own."""
    settings = TrainingSettings(
        minutes=10.0,
        quarter_share=quarter_share,
        half_share=half_share,
        learning_rate=1.0,
        schedule="cosine",
    )
    budget, step, rates, whole = Budget(settings), 0, [], []
    while not budget.is_spent(step):
        is_whole = pixels_of(step, budget.total_steps, settings) == "whole"
        whole.append(is_whole)
        rates.append(learning_rate(step, budget.total_steps, settings))
        step += 1
        seconds = slowness(step, budget.seconds / 600.0) * (0.4 if is_whole else 0.1)
        budget.count(step, seconds)
    assert budget.seconds == pytest.approx(600.0, rel=0.05)
    assert rates[-1] < 0.01
    assert max(later - now for now, later in pairwise(rates[200:])) < 0.1
    assert budget.planned_steps is not None
    assert step == pytest.approx(steps * budget.planned_steps, rel=0.1)
    last = (1.0 - quarter_share) * (1.0 - half_share)
    assert sum(whole) == pytest.approx(last * step, rel=0.3)
    if half_share == 0.0:
        assert all(whole[-sum(whole[200:]) + 20 :] if quarter_share else whole)


def test_a_budget_shorter_than_the_measurement_ends_at_its_time() -> None:
    assert timed(0.1, [1.0] * 8).total_steps == 6


def test_a_checkpoint_keeps_the_plan() -> None:
    budget = timed(1.0, [1.0] * 20 + [3.0] * 30)
    restored = Budget(TrainingSettings(minutes=1.0))
    assert not restored.load_state_dict(budget.state_dict(), 50)
    assert restored.state_dict() == budget.state_dict()


@pytest.mark.parametrize(
    ("then", "now", "total"),
    [
        ({"steps": 40}, {"steps": 100}, 100),
        ({"steps": 100}, {"steps": 60}, 60),
        ({"steps": 40}, {"images": 2000}, 100),
        ({"steps": 40}, {"minutes": 2.0}, 120),
        ({"minutes": 1.0}, {"minutes": 3.0}, 180),
        ({"minutes": 1.0}, {"steps": 75}, 75),
    ],
)
def test_another_budget_is_another_schedule(
    then: dict[str, float], now: dict[str, float], total: int
) -> None:
    """After 40 steps of a second each."""
    budget, other = (Budget(TrainingSettings.model_validate(one)) for one in (then, now))
    for step in range(1, 41):
        budget.count(step, 1.0)
    assert other.load_state_dict(budget.state_dict(), 40)
    assert other.total_steps == total
    assert other.seconds == 40.0
    again = Budget(TrainingSettings.model_validate(now))
    assert not again.load_state_dict(other.state_dict(), 40)
    assert again.total_steps == total


@pytest.mark.parametrize("now", [{"steps": 30}, {"images": 600}, {"minutes": 0.5}])
def test_a_budget_that_is_spent_is_refused(now: dict[str, float]) -> None:
    budget = Budget(TrainingSettings(steps=40))
    for step in range(1, 41):
        budget.count(step, 1.0)
    with pytest.raises(UserError, match="taken 40 steps"):
        Budget(TrainingSettings.model_validate(now)).load_state_dict(budget.state_dict(), 40)


def test_the_time_that_is_left_is_estimated_from_steps_that_cost_what_the_rest_do() -> None:
    def after(steps: int, quarter_share: float) -> float | None:
        """Slow first steps, then a second each; four for one on the whole pixels."""
        budget = Budget(TrainingSettings(steps=100, quarter_share=quarter_share))
        for step in range(1, steps + 1):
            whole = step > 100 * quarter_share > 0
            budget.count(step, 30.0 if step <= 5 else 4.0 if whole else 1.0)
        return budget.seconds_left(steps)

    assert after(19, 0.0) is None
    assert after(20, 0.0) == pytest.approx(80)
    assert after(20, 0.5) == pytest.approx(30 + 4 * 50)
    assert after(100, 0.0) == 0
    assert timed(2.0, [1.0] * 30).seconds_left(30) == pytest.approx(90)
