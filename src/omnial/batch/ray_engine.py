"""Parts on Ray: a pool of workers, on this machine or on a cluster, each with the model open.

Ray Data hands out the parts; a worker writes its part's file itself and gives back the counts
alone. When a worker dies, Ray starts another and the part is done again: as files appear whole
or not at all, nothing is lost and nothing stands there twice.
"""

import contextlib
import logging
import os
import socket
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

import omnial
from omnial.batch.listing import Part
from omnial.batch.worker import Assignment, PartResult, Worker, part_file, this_worker
from omnial.errors import RunError, UserError

ADDRESS: Final = "RAY_ADDRESS"
ATTEMPTS: Final = 4
"""How often a part is begun until the run gives up: one of its images may kill the workers."""
_OBJECT_STORE: Final = 2**27
"""Bytes. No image passes through Ray, whose default is a third of the memory."""


_ANSWER_SECONDS: Final = 10


@dataclass(frozen=True)
class OnRay:
    """The engine that does parts on Ray; see `omnial.batch.archive.Engine`.

    A worker takes a core for each of its threads, and one GPU where the device is one. In a
    process that is connected to Ray already, that connection is used and left open.
    """

    workers: int | None = None
    """None: as many as the cluster has GPUs or cores for."""
    address: str | None = None
    """Of a running cluster, `HOST:PORT` or `auto`; None takes the environment variable
    RAY_ADDRESS, and without it starts a cluster on this machine that ends with the run."""

    @contextlib.contextmanager
    def __call__(
        self, assignment: Assignment, parts: Sequence[Part]
    ) -> Iterator[Iterator[PartResult]]:
        """Start the workers, and give results as parts are done.

        Raises:
            ImportError: Ray is not installed.
            UserError: The cluster does not answer, or it has too few cores.
            RunError: A part failed, or killed its worker time after time.
        """
        told = replace(assignment, threads=assignment.threads or 1)
        cores = self.workers and self.workers * (told.threads or 1)
        with _quiet(), _connected(self.address, cores):
            yield self._results(told, parts)

    def _results(self, told: Assignment, parts: Sequence[Part]) -> Iterator[PartResult]:
        import ray.data
        from ray.exceptions import RayError

        resources = ray.cluster_resources()
        on_gpu = told.device.startswith("cuda") or (
            told.device == "auto" and resources.get("GPU", 0) >= 1
        )
        cores = told.threads or 1
        if on_gpu:
            told = replace(told, device="cuda")
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        with ray.data.DataContext.current(context):
            items = [part._asdict() for part in parts]
            done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _RayWorker,
                fn_constructor_args=(told,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    size=min(self._count(resources, on_gpu, cores), len(parts)),
                    max_tasks_in_flight_per_actor=2,
                ),
                num_cpus=cores,
                num_gpus=1 if on_gpu else 0,
            )
            try:
                for row in done.iter_rows():
                    yield _Answer.model_validate_json(row["answer"]).unwrap()
            except RayError as error:
                raise RunError(f"Ray failed: {str(error).strip().splitlines()[0]}") from error

    def _count(self, resources: Mapping[str, float], on_gpu: bool, cores: int) -> int:
        has = {kind: int(resources.get(kind, 0)) for kind in ("CPU", "GPU")}
        room = min(has["CPU"] // cores, has["GPU"]) if on_gpu else has["CPU"] // cores
        workers = self.workers or room
        if not 1 <= workers <= room:
            raise UserError(
                f"The Ray cluster has {has['CPU']} cores and {has['GPU']} GPUs, which is room for "
                f"{room} workers, not {workers or 1}: give a smaller --workers, or add nodes."
            )
        return workers


class _Answer(BaseModel):
    """What a worker says about a part. Failures travel in it: Ray would wrap and retry them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    result: PartResult | None = None
    failure: str = ""
    mendable: bool = False
    """Whether the failure is a mistake of the user."""
    trace: str = ""

    @classmethod
    def to_failure(cls, error: Exception) -> "_Answer":
        ours = isinstance(error, UserError | RunError)
        return cls(
            failure=str(error) if ours else f"{type(error).__name__}: {error}",
            mendable=isinstance(error, UserError),
            trace=traceback.format_exc(),
        )

    def unwrap(self) -> PartResult:
        if self.result is not None:
            return self.result
        failure = UserError(self.failure) if self.mendable else RunError(self.failure)
        failure.add_note(f"In a worker:\n{self.trace}")
        raise failure


class _RayWorker:
    """A worker as Ray Data calls it, in a process of its own."""

    def __init__(self, assignment: Assignment) -> None:
        self._out = assignment.out
        self._opened: Worker | _Answer
        try:
            self._opened = Worker(assignment)
        except Exception as error:  # told with the first part, see `_Answer`
            self._opened = _Answer.to_failure(error)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        pairs = zip(rows["number"], rows["offset"], strict=True)
        answers = [self._answer(Part(int(number), int(offset))) for number, offset in pairs]
        return {"answer": [answer.model_dump_json() for answer in answers]}

    def _answer(self, part: Part) -> _Answer:
        if isinstance(self._opened, _Answer):
            return self._opened
        try:
            with attempt(part_file(self._out, part)):
                return _Answer(result=self._opened.inspect(part))
        except Exception as error:
            return _Answer.to_failure(error)


@contextlib.contextmanager
def attempt(file: Path) -> Iterator[None]:
    """Leave a mark beside a part's file while it is made: Ray itself would begin it for ever.

    The mark says which worker it is, as `HOST:PROCESS`.

    Raises:
        RunError: As many earlier attempts ended with the death of their worker as are allowed.
        OSError: The folder cannot be written.
    """
    marks = list(file.parent.glob(f".{file.name}.*.begun"))
    if len(marks) >= ATTEMPTS:
        raise RunError(
            f"Workers died {len(marks)} times in the middle of {file.name}. One of its images, "
            "listed in listing/paths.jsonl, may need more memory than there is, or crash its "
            "decoder: move it away, and give the command again."
        )
    mark = file.parent / f".{file.name}.{uuid4().hex}.begun"
    mark.write_text(this_worker(), encoding="utf-8")
    try:
        yield
    finally:
        for left in (mark, *marks):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(address: str | None, cores: int | None) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get(ADDRESS)
    try:
        if address:
            _check_answer(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                "local",
                num_cpus=cores or _cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"Ray at {address or 'this machine'} does not answer: {error}. Check --ray-address, "
            "`ray status` on its head, and that Ray and Python have the same versions there."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answer(address: str) -> None:
    """Ask for a connection first: Ray itself would try for many minutes.

    Raises:
        OSError: Nothing answers at `HOST:PORT`.
        ValueError: The port is no number.
    """
    host, _, port = address.rpartition(":")
    if host and "//" not in address:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No usage statistics, no chatter; workers find the package that runs here."""
    found = str(Path(omnial.__file__).parents[1])
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_BACKEND_LOG_LEVEL": os.environ.get("RAY_BACKEND_LOG_LEVEL", "fatal"),
        "PYTHONPATH": os.pathsep.join(filter(None, [found, os.environ.get("PYTHONPATH")])),
    }
    before = {name: os.environ.get(name) for name in wanted}
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    os.environ.update(wanted)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
