"""Several trainings at once: the same results, and no end that loses or leaves anything."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from omnial.errors import RunError, UserError
from omnial.studies.job import Job, model_folder, plan_jobs
from omnial.studies.plan import Row, Study
from omnial.studies.roots import StudyData
from omnial.studies.run import StudyOptions, run_study
from omnial.studies.side_by_side import each_seen_to
from omnial.training.run_identity import CHECKPOINT, folder_of_checkpoints
from tests.studies.small_runs import SMALL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

ROWS = (Row("omnial", "OmniAL", "omnial"), Row("draem", "DRAEM", "draem"))
ENDLESS = 10**6
"""Images that no test waits for."""


def jobs(data: Path, images: int = ENDLESS) -> list[Job]:
    source = StudyData.of([data])
    return [
        job
        for row in ROWS
        for job in plan_jobs(row, source, size="tiny", images=images, overrides=SMALL)
    ]


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_training(job: Job, work: Path) -> bool:
    """Whether the first losses are written."""
    logs = (model_folder(job, work) / "logs").glob("csv/*/metrics.csv")
    return any(path.stat().st_size for path in logs)


def test_the_results_are_those_of_one_after_the_other(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    study = Study("two", "Two rows", "Which?", ROWS, seeds=1)
    found = {}
    for at_once in (1, 2):
        out = tmp_path / f"out{at_once}" / "two"
        options = StudyOptions("tiny", 8, 1, SMALL, gallery=False, jobs=at_once)
        told: list[str] = []
        summary = run_study(
            *(study, [data], out, tmp_path / f"work{at_once}", options),
            tell=told.append,
            progress=False,
        )
        assert (summary.computed, summary.missing) == (2, [])
        assert told == ["two: OmniAL, seed 0", "two: DRAEM, seed 0"]
        found[at_once] = results(out)
    assert found[1].keys() == found[2].keys()
    for name, result in found[1].items():
        assert found[2][name]["figures"] == result["figures"]
        assert found[2][name]["machine"]["torch_threads"] == torch.get_num_threads()
    assert (tmp_path / "out1/two/README.md").read_bytes() == (
        tmp_path / "out2/two/README.md"
    ).read_bytes()


def test_an_interrupt_ends_all_of_them_with_checkpoints(data: Path, tmp_path: Path) -> None:
    first, second = jobs(data)

    def interrupt(job: Job) -> None:
        if job is second:
            wait_for(lambda: is_training(first, tmp_path))
            raise KeyboardInterrupt

    done = each_seen_to(
        *([first, second], tmp_path / "out", tmp_path, 2),
        weights=False,
        begins=interrupt,
        progress=False,
    )
    with closing(done), pytest.raises(KeyboardInterrupt):
        next(done)
    assert not multiprocessing.active_children()
    assert (folder_of_checkpoints(model_folder(first, tmp_path)) / CHECKPOINT).is_file()
    assert not results(tmp_path / "out")


def test_one_that_is_killed_is_told_and_ends_the_others(data: Path, tmp_path: Path) -> None:
    first, second = jobs(data)

    def kill(job: Job) -> None:
        if job is second:
            (child,) = multiprocessing.active_children()
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(RunError, match=r"training of OmniAL was killed \(SIGKILL\)"):
        list(
            each_seen_to(
                *([first, second], tmp_path / "out", tmp_path, 2),
                weights=False,
                begins=kill,
                progress=False,
            )
        )
    assert not multiprocessing.active_children()


def test_what_one_refuses_reaches_the_user(data: Path, tmp_path: Path) -> None:
    first, second = jobs(data, images=2)
    with pytest.raises(UserError, match="nowhere"):
        list(
            each_seen_to(
                *([first, replace(second, roots=(Path("nowhere"),))], tmp_path / "out", tmp_path),
                at_once=2,
                weights=False,
                begins=lambda job: None,
                progress=False,
            )
        )
    assert not multiprocessing.active_children()


SCRIPT = """
import multiprocessing, sys
from pathlib import Path
from tests.studies.test_side_by_side import each_seen_to, jobs

def begins(job):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    asked = jobs(data), folder / "out", folder, 2
    list(each_seen_to(*asked, weights=False, begins=begins, progress=False))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_they_end_when_the_study_is_killed(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    script.write_text(SCRIPT, encoding="utf-8")
    first = jobs(data)[0]
    root = Path(__file__).parents[2]
    command = [sys.executable, str(script), str(data), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, text=True, cwd=root
    ) as study:
        assert study.stdout is not None
        study.stdout.readline()
        (child,) = map(int, study.stdout.readline().split())
        wait_for(lambda: is_training(first, tmp_path))
        study.kill()
    wait_for(lambda: not Path(f"/proc/{child}").is_dir())
    assert (folder_of_checkpoints(model_folder(first, tmp_path)) / CHECKPOINT).is_file()
