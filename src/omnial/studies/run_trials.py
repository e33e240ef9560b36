"""Run the trials of a study, one after the other or several at once, each in its own process.

Two trainings with a core each get through more images than one training with both: a small
network's layers are too short to be shared out well.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import torch

from omnial.demo.production_line import generate
from omnial.distributed.launch import share_of_threads
from omnial.errors import RunError
from omnial.studies.study_data import StudyData
from omnial.studies.study_rows import Row, StudyOptions
from omnial.studies.trial import Trial, find_result, has_model, plan_trials, run_trial

DEMO_DATA: Final = "demo-data"

_DEMO_SHARE: Final = 4
"""Models on the demo data train on a quarter of a row's images."""
_INTERRUPTED: Final = 130

_logger = logging.getLogger(__name__)


def run_trials(
    trials: Sequence[Trial],
    out: Path,
    work: Path,
    at_once: int = 1,
    *,
    models: bool = False,
    on_done: Callable[[Trial], None] = lambda _: None,
    progress: bool = True,
) -> None:
    """Train and evaluate what is missing of some trials, no two of them equal.

    The results go to `out`, the models to `work`; with `models` they are needed too. Where this
    process is interrupted, fails or dies, trainings save a checkpoint and stop. More than one
    `at_once` share out the cores, unless `OMP_NUM_THREADS` sets the threads of each, and show no
    progress. `on_done` is called with each trial that was missing when it is done, in any order.

    Raises:
        RunError: A training was killed.
    """
    waiting = deque(
        trial
        for trial in trials
        if find_result(trial, out) is None or (models and not has_model(trial, work))
    )
    if min(at_once, len(waiting)) < 2:
        for trial in waiting:
            _logger.info("training %s", trial.label)
            run_trial(trial, out, work, model=models, progress=progress)
            on_done(trial)
        return
    spawn = multiprocessing.get_context("spawn")
    threads = share_of_threads(torch.get_num_threads(), min(at_once, len(waiting)))
    running: dict[Connection, tuple[SpawnProcess, Trial]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                trial = waiting.popleft()
                _logger.info("training %s", trial.label)
                outcome, to_parent = spawn.Pipe(duplex=False)
                work_on = (trial, out, work, models, threads, to_parent)
                process = spawn.Process(target=_run_in_process, args=work_on)
                process.start()
                to_parent.close()  # so that its end is read here when the process dies
                running[outcome] = process, trial
            for ready in wait_for_any(list(running)):
                assert isinstance(ready, Connection)
                process, trial = running[ready]
                try:
                    error = ready.recv()
                except EOFError:
                    process.join()
                    raise RunError(_reason(trial, process.exitcode or 0)) from None
                if error is not None:
                    raise error
                process.join()
                del running[ready]
                on_done(trial)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def train_on_demo(
    rows: Sequence[Row], work: Path, options: StudyOptions, *, progress: bool
) -> list[Trial]:
    """Train each unified row on the demo data, whose pictures may be published, where missing.

    The model of each row's trial lies in `model_folder(trial, work)`.
    """
    generate(work / DEMO_DATA, seed=0)
    data = StudyData.of([work / DEMO_DATA])
    trials = []
    for row in rows:
        shorter = replace(row, images=max(1, (row.images or options.images) // _DEMO_SHARE))
        trials += plan_trials(shorter, data, options)
    _logger.info("the same rows on the demo data, for the pictures")
    run_trials(trials, work / "demo-results", work, options.jobs, models=True, progress=progress)
    return trials


def _run_in_process(
    trial: Trial, out: Path, work: Path, models: bool, threads: int, to_parent: Connection
) -> None:
    # Ctrl+C reaches every process of a terminal: the study hears it, and ends its trainings.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        run_trial(trial, out, work, model=models, progress=False)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:
        error.add_note(traceback.format_exc())  # which is lost on the way
        to_parent.send(error)
    else:
        to_parent.send(None)


def _end_with_parent() -> None:
    """End the training as SIGTERM does when the study's own process has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_any([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _reason(trial: Trial, code: int) -> str:
    """Why the process of a training ended that should not have."""
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
    return (
        f"the training of {trial.row.label} {how}; SIGKILL often says that memory ran out. "
        "What is finished is kept, and the same command goes on from the last checkpoint."
    )
