"""`omnial train --devices 2`: its processes end together, whatever ends one of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import small

from omnial.cli import main
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.distributed import launch
from omnial.training.fit import train

_LINUX = Path("/proc/self/task").exists()


def command(data: Path, out: Path, *more: str) -> list[str]:
    flags = [part for flag in (*small.FLAGS, "training.steps=40") for part in ("--set", flag)]
    return ["train", "--size", "tiny", "--data", str(data), "--out", str(out), *flags, *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command") / "data"
    generate(folder, seed=2, classes=CLASS_NAMES[:2], size=64, train=6, test_good=1, per_kind=1)
    return folder


def second_of(parent: int) -> int:
    """The process of rank 1."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in children:
        if "\0LOCAL_RANK=1\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"no process of rank 1 among {children}")


def ended(data: Path, out: Path, number: signal.Signals, *more: str) -> tuple[int, str]:
    """Start a run of two processes, send the second a signal after a step, and see it end."""
    checkpoint = out / "checkpoints" / "last.ckpt"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = subprocess.Popen(
        [sys.executable, "-m", "omnial", *command(data, out, "--devices", "2", *more)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        os.kill(second_of(process.pid), number)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, said


def steps_saved(out: Path) -> int:
    path = out / "checkpoints" / "last.ckpt"
    return int(torch.load(path, weights_only=True)["step"])


@pytest.mark.skipif(not _LINUX, reason="finds processes through /proc")
def test_the_end_of_one_process_ends_all_and_the_run_can_be_resumed(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    code, said = ended(data, out, signal.SIGKILL)
    assert code == 3
    assert "SIGKILL" in said
    before = steps_saved(out)

    code, said = ended(data, out, signal.SIGTERM, "--resume")
    assert code == 130
    assert said.count("omnial: interrupted") == 1
    assert before < steps_saved(out) < 40
    assert not (out / "model.safetensors").exists()

    steps = steps_saved(out) + 1
    wanted = small.settings(f"training.steps={steps}")
    assert train(wanted, [data], out, resume=True, progress=False).steps == steps
    assert json.loads((out / "config.json").read_text())["training"]["steps"] == steps


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been started as several processes; each ends with code 1."""
    commands: list[list[str]] = []

    def start_here(count: int, command: list[str]) -> int:
        commands.append([str(count), *command])
        return 1

    monkeypatch.setattr(launch, "start_here", start_here)
    return commands


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["omnial", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return call


def test_the_same_command_is_started_and_its_exit_code_is_kept(
    data: Path, tmp_path: Path, started: list[list[str]], run: Callable[..., int]
) -> None:
    arguments = command(data, tmp_path / "model", "--devices", "2")
    assert run(*arguments) == 1
    assert started == [["2", sys.executable, "-m", "omnial", *arguments]]
    (model := tmp_path / "trained").mkdir()
    evaluation = ["evaluate", str(model), "--data", str(data), "--out", str(tmp_path / "report")]
    evaluation += ["--devices", "3"]
    assert run(*evaluation) == 1
    assert started[1] == ["3", sys.executable, "-m", "omnial", *evaluation]


def test_what_cannot_be_shared_is_refused_before_anything_is_started(
    data: Path,
    tmp_path: Path,
    started: list[list[str]],
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*command(data, tmp_path / "model", "--devices", "3")) == 2
    assert "which 3 processes cannot share" in capsys.readouterr().err
    assert started == []


def test_other_verbs_refuse_several_processes(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for rank, spoken in (("1", ""), ("0", "train and evaluate alone")):
        for name, value in (variables | {"RANK": rank, "LOCAL_RANK": rank}).items():
            monkeypatch.setenv(name, value)
        assert run("info") == 2
        assert spoken in capsys.readouterr().err
