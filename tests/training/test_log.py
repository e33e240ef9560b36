"""What a user sees of a training: percent, time left, images/s and one loss."""

import logging
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from rich.text import Text

from omnial.training import log
from omnial.training.log import RunLog
from omnial.training.loop import _say_how_long


class Clock:
    """`time` with a clock that a test moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(log, "time", moved)
    return moved


def test_a_line_where_there_is_no_terminal(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = RunLog(tmp_path, 0, 16, first=True, progress=True)
    clock.now = 32.0
    run.write(80, {"loss": 1.25}, 400, 128.0)
    run.close()
    assert caplog.messages == ["step 80 of 400 (20 %), 0:02:08 left, 40.0 images/s, loss 1.250"]


def test_a_bar_on_a_terminal(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = RunLog(tmp_path, 0, 16, first=True, progress=True)
    clock.now = 1.0
    run.write(100, {"loss": 1.25}, 400, 90.0)
    assert run._bar is not None
    (task,) = run._bar.tasks
    shown = [column(task) for column in run._bar.columns]
    run.close()
    words = [part.plain for part in shown if isinstance(part, Text)]
    assert words[:2] == ["training", " 25%"]
    assert words[-1] == "0:01:30 left, 1600.0 images/s, loss 1.250"


def test_the_whole_time_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    budget = Mock(seconds=60.0, total_steps=100)
    budget.seconds_left.return_value, budget.is_spent.return_value = 540.0, False
    _say_how_long(budget, 10, 16)
    assert caplog.messages == ["the training will take about 0:10:00: 100 steps of 16 images"]
