"""Run the trials of a study, one after the other or several at once, each in its own process.

Two trainings with a core each get through more images than one training with both: a small
network's layers are too short to be shared out well.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import wait as wait_for_end
from multiprocessing.process import BaseProcess
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
_LOOK_SECONDS = 1.0

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
    threads = share_of_threads(torch.get_num_threads(), min(at_once, len(waiting)))
    spawn, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    workers: set[BaseProcess] = set()
    running: dict[Future[None], Trial] = {}
    try:
        with ProcessPoolExecutor(at_once, spawn, _prepare_worker, (threads,)) as pool:
            try:
                while waiting or running:
                    # One at a time: what the pool has taken can no longer be called off.
                    while waiting and len(running) < at_once:
                        trial = waiting.popleft()
                        _logger.info("training %s", trial.label)
                        running[pool.submit(_run_in_worker, trial, out, work, models)] = trial
                        workers |= set(multiprocessing.active_children()) - others
                    done = wait(running, _LOOK_SECONDS, return_when=FIRST_COMPLETED).done
                    for future in done:
                        future.result()
                        on_done(running.pop(future))
                    # The pool overlooks the end of a worker that it started a moment ago.
                    if any(worker.exitcode for worker in workers):
                        raise BrokenProcessPool
            finally:
                for worker in workers if running else ():
                    worker.terminate()
    except BrokenProcessPool as error:
        raise RunError(_reason(workers, list(running.values()))) from error


def train_on_demo(
    rows: Sequence[Row], work: Path, options: StudyOptions, *, progress: bool
) -> list[Trial]:
    """Train each unified row on the demo data, whose pictures may be published, where missing.

    The model of each row's trial lies in `model_folder(trial, work)`.
    """
    generate(work / DEMO_DATA, seed=0)
    data = StudyData.of([work / DEMO_DATA])
    shorter = replace(options, images=max(1, options.images // _DEMO_SHARE))
    trials = [trial for row in rows for trial in plan_trials(row, data, shorter)]
    _logger.info("the same rows on the demo data, for the pictures")
    run_trials(trials, work / "demo-results", work, options.jobs, models=True, progress=progress)
    return trials


def _prepare_worker(threads: int) -> None:
    # Ctrl+C reaches every process of a terminal: the study hears it, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End the training as SIGTERM does when the study's own process has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_end([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _run_in_worker(trial: Trial, out: Path, work: Path, models: bool) -> None:
    try:
        run_trial(trial, out, work, model=models, progress=False)
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)  # the pool would hand the exception on, and keep the process


def _reason(workers: set[BaseProcess], trials: Sequence[Trial]) -> str:
    """Why a process ended that should not have; the others have been ended because of it."""
    codes = [worker.exitcode or 0 for worker in workers]
    code = next((code for code in codes if code not in (0, -signal.SIGTERM, _INTERRUPTED)), 0)
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
    names = " or ".join(trial.row.label for trial in trials)
    return (
        f"the training of {names} {how}; SIGKILL often says that memory ran out. "
        "What is finished is kept, and the same command goes on from the last checkpoint."
    )
