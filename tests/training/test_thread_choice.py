import pytest
import torch

from omnial.training.thread_choice import ThreadChoice, chosen_threads


class Machine:
    """Two cores, of which other work may keep one busy; a step on a quarter costs a quarter."""

    def __init__(self) -> None:
        self.busy = False
        self.choice = ThreadChoice(2)
        self.taken: list[int] = []

    def steps(self, count: int, reduced: bool = True) -> list[int]:
        """The threads of so many further steps."""
        for _ in range(count):
            threads = self.choice.threads
            self.taken.append(threads)
            seconds = 1.8 if threads == 1 else 3.6 if self.busy else 1.0
            self.choice.count(seconds * (0.25 if reduced else 1.0), reduced)
        return self.taken[-count:]


def test_a_quiet_machine_trains_on_all_threads_after_five_steps_on_one() -> None:
    assert Machine().steps(3000).count(1) == 5


def test_a_busy_machine_trains_on_one_thread_and_looks_again_now_and_then() -> None:
    machine = Machine()
    machine.busy = True
    taken = machine.steps(3000)
    assert taken[:26] == [2] * 26
    assert taken[26:1000] == [1] * 974
    assert taken.count(2) == 26 + 5 * 2
    machine.busy = False
    assert machine.steps(1100)[-10:] == [2] * 10


def test_a_machine_that_gets_work_trains_on_one_thread_some_steps_later() -> None:
    machine = Machine()
    machine.steps(500)
    machine.steps(500, reduced=False)
    machine.busy = True
    assert machine.steps(31, reduced=False)[-5:] == [1] * 5
    assert machine.steps(900, reduced=False) == [1] * 900


def test_larger_images_are_compared_anew_and_are_no_slower_machine() -> None:
    machine = Machine()
    machine.steps(400)
    assert machine.steps(400, reduced=False) == [2] * 6 + [1] * 5 + [2] * 389


def test_a_change_of_size_within_a_comparison_starts_it_again() -> None:
    machine = Machine()
    machine.steps(23)
    assert machine.steps(30, reduced=False).count(1) == 5


def test_the_number_of_threads_is_as_before_after_a_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    now = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(torch, "set_num_threads", now.append)
    with chosen_threads(fixed=False) as choose:
        for _ in range(40):
            choose(3.6 if now[-1] == 2 else 1.8, True)
        assert now == [2, 1]
    assert now == [2, 1, 2]
    with chosen_threads(fixed=True) as choose:
        for _ in range(40):
            choose(3.6, True)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with chosen_threads(fixed=False) as choose:
        for _ in range(40):
            choose(3.6, True)
    assert now == [2, 1, 2, 2, 2]
