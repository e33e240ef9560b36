"""The demonstration: what a second run does again, with a stand-in for the training."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from omnial.demo import run_demo as demo
from omnial.demo.production_line import CLASS_NAMES
from omnial.errors import UserError
from omnial.training.checkpoint import RunIdentity, claim, what_is_computed


class Stage:
    """Stands in for all parts; trains until `breaks` is set."""

    def __init__(self) -> None:
        self.trainings: list[dict[str, Any]] = []
        self.breaks = False

    def train(self, settings: Any, roots: Sequence[Path], out: Path, *, resume: bool) -> None:
        self.trainings.append({"settings": settings, "roots": roots, "resume": resume})
        run = RunIdentity(
            settings=what_is_computed(settings), classes=list(CLASS_NAMES), images="", start=None
        )
        claim(out, run, resume)
        if self.breaks:
            raise KeyboardInterrupt
        (out / "config.json").touch()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    result = SimpleNamespace(to_metrics=lambda: {"mean": {}})
    stand_ins = {
        "train": stage.train,
        "generate": lambda out, **_: out.mkdir(parents=True, exist_ok=True),
        "evaluate": lambda model, roots, out: result,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(demo, name, stand_in)
    return stage


def test_a_finished_model_is_used_again(stage: Stage, tmp_path: Path) -> None:
    first = demo.run_demo(tmp_path / "demo", quick=True)
    second = demo.run_demo(tmp_path / "demo", quick=True)

    assert len(stage.trainings) == 1
    assert first == second
    assert stage.trainings[0]["roots"] == [tmp_path / "demo" / "data"]
    assert first["report"] == str(tmp_path / "demo" / "report" / "index.html")


def test_a_training_cut_short_is_resumed(stage: Stage, tmp_path: Path) -> None:
    stage.breaks = True
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path, quick=True)
    stage.breaks = False

    demo.run_demo(tmp_path, quick=True)
    demo.run_demo(tmp_path, quick=True)

    assert len(stage.trainings) == 2


def test_other_settings_train_anew(stage: Stage, tmp_path: Path) -> None:
    demo.run_demo(tmp_path, quick=True)
    (tmp_path / "model" / "checkpoints" / "old").touch()

    demo.run_demo(tmp_path, quick=True, minutes=3)
    demo.run_demo(tmp_path)

    assert not (tmp_path / "model" / "checkpoints" / "old").exists()
    budgets = [training["settings"].training for training in stage.trainings]
    assert [(budget.minutes, budget.steps) for budget in budgets] == [
        (None, 60),
        (3, None),
        (7, None),
    ]
    assert [training["settings"].size for training in stage.trainings] == ["tiny", "tiny", "lite"]
    for training in stage.trainings:  # no kind that resembles those of the products
        drawn = training["settings"].synthesis
        assert drawn.line_share == drawn.own_texture_share == drawn.shade_share == 0.0


def test_the_model_is_gone(stage: Stage, tmp_path: Path) -> None:
    demo.run_demo(tmp_path, quick=True)
    (tmp_path / "model" / "config.json").unlink()

    demo.run_demo(tmp_path, quick=True)

    assert len(stage.trainings) == 2


@pytest.mark.parametrize("classes", [None, ["bolt"]])
def test_a_model_of_others_is_left_alone(
    stage: Stage, tmp_path: Path, classes: list[str] | None
) -> None:
    model = tmp_path / "model"
    if classes is not None:
        claim(model, RunIdentity(settings={}, classes=classes, images="", start=None), False)
    model.mkdir(exist_ok=True)
    (model / "mine").touch()

    with pytest.raises(UserError, match="not of a demonstration"):
        demo.run_demo(tmp_path, quick=True)

    assert (model / "mine").exists()
    assert stage.trainings == []


def test_impossible_minutes(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.minutes"):
        demo.run_demo(tmp_path, minutes=-1)


def test_no_browser_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    assert not demo.can_show()

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert demo.can_show()


@pytest.mark.skipif(sys.platform in {"darwin", "win32"}, reason="these always have a display")
def test_no_browser_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))

    assert not demo.can_show()
