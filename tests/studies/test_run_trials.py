"""Several trainings at once: the same results, and no end that loses or leaves anything."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from omnial.errors import RunError, UserError
from omnial.model_folder.config_file import CHECKPOINT_FILE
from omnial.studies.results_store import SCHEMA, write_result
from omnial.studies.run_study import run_study
from omnial.studies.run_trials import run_trials
from omnial.studies.study_data import StudyData
from omnial.studies.study_rows import Row, Study, StudyOptions
from omnial.studies.trial import Trial, model_folder, plan_trials
from tests.studies.small_runs import SMALL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")

ROWS = (Row("omnial", "OmniAL", "omnial"), Row("draem", "DRAEM", "draem"))
ENDLESS = 10**6
"""Images that no test waits for."""


def trials(data: Path, images: int = ENDLESS) -> list[Trial]:
    source = StudyData.of([data])
    options = StudyOptions("tiny", images, overrides=SMALL)
    return [trial for row in ROWS for trial in plan_trials(row, source, options)]


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_training(trial: Trial, work: Path) -> bool:
    """Whether the first step is taken: its picture opens the log."""
    return any((model_folder(trial, work) / "logs" / "tensorboard").glob("*/events*"))


def meanwhile(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def test_the_results_are_those_of_one_after_the_other(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    caplog.set_level("INFO", "omnial.studies")
    study = Study("two", "Two rows", "Which?", ROWS, seeds=1)
    found = {}
    for at_once in (1, 2):
        out = tmp_path / f"out{at_once}" / "two"
        options = StudyOptions("tiny", 8, 1, SMALL, gallery=False, jobs=at_once)
        caplog.clear()
        summary = run_study(
            study, [data], out, tmp_path / f"work{at_once}", options, progress=False
        )
        assert (summary.computed, summary.missing) == (2, [])
        assert caplog.messages == ["training OmniAL, seed 0", "training DRAEM, seed 0"]
        found[at_once] = results(out)
    assert found[1].keys() == found[2].keys()
    for name, result in found[1].items():
        assert found[2][name]["figures"] == result["figures"]
        assert found[2][name]["machine"]["torch_threads"] == torch.get_num_threads()
    assert (tmp_path / "out1/two/README.md").read_bytes() == (
        tmp_path / "out2/two/README.md"
    ).read_bytes()


def test_one_that_is_killed_ends_the_others_with_checkpoints_and_its_signal_is_named(
    data: Path, tmp_path: Path
) -> None:
    both = trials(data)

    def kill() -> None:
        wait_for(lambda: all(is_training(trial, tmp_path) for trial in both))
        pid = multiprocessing.active_children()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    meanwhile(kill)
    with pytest.raises(RunError, match=r"(OmniAL|DRAEM) was killed \(SIGKILL\)") as told:
        run_trials(both, tmp_path / "out", tmp_path, 2)
    assert not multiprocessing.active_children()
    (other,) = (trial for trial in both if f" {trial.row.label} was" not in str(told.value))
    assert (model_folder(other, tmp_path) / CHECKPOINT_FILE).is_file()


def test_an_interrupt_ends_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        assert len(multiprocessing.active_children()) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr("omnial.studies.run_trials.wait_for_any", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trials(trials(data, images=2), tmp_path / "out", tmp_path, 2)
    assert not multiprocessing.active_children()


def test_an_error_of_one_reaches_the_user(data: Path, tmp_path: Path) -> None:
    """Its result is there already: it is its model that is asked for."""
    first, second = trials(data, images=2)
    second = second._replace(roots=(Path("nowhere"),))
    out = tmp_path / "out"
    write_result(out / second.file_name, {"schema": SCHEMA, "key": second.key})
    with pytest.raises(UserError, match="nowhere"):
        run_trials([first, second], out, tmp_path, 2, models=True)
    assert not multiprocessing.active_children()


SCRIPT = """
import sys
from pathlib import Path
from tests.studies.test_run_trials import run_trials, trials

if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    run_trials(trials(data), folder / "out", folder, 2)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_they_end_with_checkpoints_when_the_study_is_killed(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(SCRIPT, encoding="utf-8")
    both = trials(data)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    with subprocess.Popen(
        [sys.executable, str(script), str(data), str(tmp_path)],
        env=environment,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
    ) as study:
        wait_for(lambda: all(is_training(trial, tmp_path) for trial in both))
        tree = Path(f"/proc/{study.pid}/task/{study.pid}/children").read_text().split()
        study.kill()
        _, said = study.communicate(timeout=120)
    assert not said
    wait_for(lambda: not any(Path(f"/proc/{child}").is_dir() for child in tree))
    for trial in both:
        assert (model_folder(trial, tmp_path) / CHECKPOINT_FILE).is_file()
    assert not results(tmp_path / "out")
