"""Run the command line in a process group of its own, and kill it where it is told to.

Most runs are forks of this process, which has imported the libraries: starting up takes most of a
short run's time and writes nothing. Every run of a `fresh` one is `python -c ...` from nothing.
"""

import importlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_FILE_EVENTS: Final = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
"""What Python tells its audit hooks before it does it; `os.replace` counts as `os.rename`."""
_WRITES: Final = os.O_WRONLY | os.O_RDWR
_COUNTER: Final = struct.Struct("q")
_POLL_SECONDS: Final = 0.002
_LIMIT_SECONDS: Final = 1800.0


@dataclass(frozen=True)
class Kill:
    """Where a run is killed: after so many seconds, or before its n-th change to a file."""

    seconds: float | None = None
    change: int | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        killed: It was killed; otherwise it ended before its time came.
        code: Exit code.
        seconds: How long it ran.
        changes: Changes to files below the watched folder: opened for writing, renamed, removed,
            folders made and removed. 0 for a fresh run, which nobody watches.
    """

    killed: bool
    code: int
    seconds: float
    changes: int


def preload(*, exports: bool) -> None:
    """Import what the verbs import, and what writes exports if asked, so that forks need not."""
    for name in (
        *("cli", "training.fit", "reporting.evaluation_report", "robustness.build_set"),
        *("export.export_model", "studies.run_study", "inference.inspector"),
        "reporting.prediction_report",
    ):
        importlib.import_module(f"omnial.{name}")
    if exports:
        for name in ("onnx", "onnxscript", "onnxruntime", "torch.onnx", "torch.export"):
            importlib.import_module(name)


def run(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    kill: Kill | None = None,
) -> Ended:
    """Run `omnial` in a folder; its output goes to `log.txt` there.

    Raises:
        TimeoutError: It did not end within half an hour.
    """
    counter = mmap.mmap(-1, _COUNTER.size)
    started = time.monotonic()
    if kill is not None and kill.fresh:
        process = _start_fresh(arguments, folder, environment)
    else:
        process = _fork(arguments, folder, environment, kill, counter)
    limit = _LIMIT_SECONDS if kill is None or kill.seconds is None else kill.seconds
    status = _wait(process, started + limit)
    if status is None:
        os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if limit == _LIMIT_SECONDS:
            raise TimeoutError(f"omnial {' '.join(arguments)} did not end; see {folder}/log.txt")
    (changes,) = _COUNTER.unpack(counter[:])
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return Ended(killed, code, time.monotonic() - started, changes)


def _wait(process: int, until: float) -> int | None:
    """A process's status, or None if it still runs at that time."""
    while time.monotonic() < until:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return status
        time.sleep(_POLL_SECONDS)
    return None


def _start_fresh(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from omnial.cli import main; main()", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ).pid


def _fork(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    kill: Kill | None,
    counter: mmap.mmap,
) -> int:
    process = os.fork()
    if process:
        # By both, as neither knows who comes first: a kill must find the group.
        with suppress(OSError):
            os.setpgid(process, process)
        return process
    code = 3
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        os.chdir(folder)
        os.environ.update(environment)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        _watch(folder, None if kill is None else kill.change, counter)
        code = _main(arguments)
    finally:
        os._exit(code)


def _main(arguments: Sequence[str]) -> int:
    from omnial.cli import main

    sys.argv = ["omnial", *arguments]
    try:
        main()
    except SystemExit as request:
        return int(request.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _watch(folder: Path, last: int | None, counter: mmap.mmap) -> None:
    """Count changes below a folder, and kill this process's group before the n-th."""
    below = str(folder)
    changes = 0

    def hook(event: str, values: tuple[Any, ...]) -> None:
        nonlocal changes
        if event not in _FILE_EVENTS or not isinstance(values[0], str | bytes | os.PathLike):
            return
        if event == "open" and not (isinstance(values[2], int) and values[2] & _WRITES):
            return
        # Names that `shutil` gives relative to an open folder count too.
        path = os.path.abspath(os.fsdecode(values[0]))
        if not path.startswith(below) or path.endswith("log.txt"):
            return
        changes += 1
        counter[:] = _COUNTER.pack(changes)
        if changes == last:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(hook)
