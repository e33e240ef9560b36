"""A study's trainings: one after the other, or several at once, each in a process of its own.

Two trainings with a core each get through more images than one training with both: a small
network's layers are too short to be shared out well.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

import torch

from omnial.distributed.collectives import share_of_threads
from omnial.errors import RunError, UserError
from omnial.studies.job import Job, find_result, has_model, see_to

_INTERRUPTED = 130


class _Running(NamedTuple):
    """A training under way."""

    job: Job
    process: SpawnProcess
    told: Connection
    """What ends it early comes from here."""


def each_seen_to(
    jobs: Sequence[Job],
    out: Path,
    work: Path,
    at_once: int,
    *,
    weights: bool,
    begins: Callable[[Job], None],
    progress: bool,
) -> Generator[Job, None, None]:
    """Train and evaluate what is not done yet, each job as `omnial.studies.job.see_to`.

    To be closed when it is not read to its end: what is under way then saves a checkpoint and
    stops. So it does when this process is interrupted, or dies.

    Args:
        jobs: What to do; no two of them are equal.
        out: Folder of the results.
        work: Folder of the models.
        at_once: Trainings at the same time. More than one share out the cores, unless
            `OMP_NUM_THREADS` says how many threads each has, and show no progress.
        weights: The models are needed, not only the results.
        begins: Called with each job as it begins.
        progress: Show each training's progress.

    Yields:
        The jobs as they are done, in any order.

    Raises:
        UserError: Unusable data.
        RunError: A result cannot be written, or a training was killed.
    """
    if min(at_once, len(jobs)) < 2:
        for job in jobs:
            begins(job)
            see_to(job, out, work, weights=weights, progress=progress)
            yield job
        return
    threads = share_of_threads(torch.get_num_threads(), min(at_once, len(jobs)))
    waiting, running = deque(jobs), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                begins(waiting[0])
                running.append(_start(waiting.popleft(), out, work, weights, threads))
            ended = wait([each.process.sentinel for each in running])
            for each in [each for each in running if each.process.sentinel in ended]:
                running.remove(each)
                _check(each)
                yield each.job
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.join()


def see_to_all(
    jobs: Sequence[Job],
    out: Path,
    work: Path,
    at_once: int,
    *,
    begins: Callable[[Job], None],
    progress: bool,
) -> None:
    """Have the results and the models of all jobs, as `each_seen_to`; what is there is kept.

    Raises:
        UserError: Unusable data.
        RunError: A result or a model cannot be written, or a training was killed.
    """
    missing = [job for job in jobs if find_result(job, out) is None or not has_model(job, work)]
    done = each_seen_to(
        *(missing, out, work, at_once), weights=True, begins=begins, progress=progress
    )
    with closing(done):
        deque(done, maxlen=0)


def _start(job: Job, out: Path, work: Path, weights: bool, threads: int) -> _Running:
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    arguments = (job, out, work, weights, threads, sender)
    process = spawn.Process(target=_train, args=arguments, daemon=True)
    with _deaf_to_interrupts():
        process.start()
    sender.close()
    return _Running(job, process, receiver)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl+C: this one hears it, and ends them in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train(job: Job, out: Path, work: Path, weights: bool, threads: int, told: Connection) -> None:
    """What each process does."""
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        see_to(job, out, work, weights=weights, progress=False)
    except (UserError, RunError) as error:
        told.send(error)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _end_with_parent() -> None:
    """End the training as SIGTERM does when the process that asked for it has died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _check(ended: _Running) -> None:
    """Raise what a process has told, or that it ended without a word."""
    ended.process.join()
    try:
        error = ended.told.recv()
    except EOFError:
        error = None
    if error is not None:
        raise error
    code = ended.process.exitcode
    if code:
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
        raise RunError(
            f"the training of {ended.job.row.label} {how}; SIGKILL often says that memory ran out. "
            "What is finished is kept, and the same command goes on from the last checkpoint."
        )
