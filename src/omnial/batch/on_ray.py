"""Parts on Ray Data: a pool of workers, on this machine or on a cluster, each with the model open.

A worker writes its part's file itself, which Ray's own writer would neither do whole or not at all
nor in the images' order; what goes through Ray are numbers of parts and counts.
"""

import contextlib
import logging
import os
import socket
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np

from omnial.batch.archive import Assignment, PartResult, Worker, part_file
from omnial.errors import RunError, UserError
from omnial.model_folder.export_folder import is_export

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

    def __call__(self, assignment: Assignment, parts: Sequence[int]) -> Iterator[PartResult]:
        """Start the workers, and give results as parts are done.

        A UserError says that the cluster does not answer or is too small, a RunError what failed.
        """
        cores = assignment.threads or 1
        with _connected(self.address, self.workers and self.workers * cores):
            import ray.data
            from ray.exceptions import RayError

            has = {kind: int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU")}
            device = assignment.device
            # An export's engine may have no GPU where Ray sees one: it takes it on request alone.
            may_take = device == "auto" and not is_export(assignment.model)
            on_gpu = device.startswith("cuda") or (may_take and has["GPU"] >= 1)
            most = min(has["CPU"] // cores, has["GPU"]) if on_gpu else has["CPU"] // cores
            workers = self.workers or most
            if not 1 <= workers <= most:
                raise UserError(
                    f"The Ray cluster has {has['CPU']} cores and {has['GPU']} GPUs, enough for "
                    f"{most} workers, not {workers or 1}: give a smaller --workers, or add nodes."
                )
            started = replace(assignment, threads=cores, device="cuda" if on_gpu else device)
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            ray.data.DataContext.get_current().enable_progress_bars = False
            # A block a part, so that each is handed out for itself.
            listed = ray.data.from_items(list(parts), override_num_blocks=len(parts))
            pool = ray.data.ActorPoolStrategy(
                size=min(workers, len(parts)), max_tasks_in_flight_per_actor=2
            )
            done = listed.map_batches(
                _RayWorker,
                fn_constructor_args=(started,),
                batch_size=1,
                compute=pool,
                num_cpus=cores,
                num_gpus=int(on_gpu),
            )
            try:
                for row in done.iter_rows():
                    if isinstance(row["answer"], Exception):
                        raise row["answer"]
                    yield row["answer"]
            except RayError as error:
                raise RunError(f"Ray failed: {str(error).strip().splitlines()[0]}") from error


class _RayWorker:
    """A worker as Ray Data calls it, in a process of its own.

    It returns failures instead of raising them: Ray would retry them, and lose their type.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._opened: Worker | None = None

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        answers = np.empty(len(rows["item"]), object)
        answers[:] = [self._inspect(int(part)) for part in rows["item"]]
        return {"answer": answers}

    def _inspect(self, part: int) -> PartResult | Exception:
        try:
            if self._opened is None:
                self._opened = Worker(self._assignment)
            with attempt(part_file(self._assignment.out, part)):
                return self._opened.inspect(part)
        except Exception as error:
            # Of these types, so that it can be pickled.
            if isinstance(error, UserError):
                failure: Exception = UserError(str(error))
            else:
                name = "" if isinstance(error, RunError) else f"{type(error).__name__}: "
                failure = RunError(f"{name}{error}")
            failure.add_note(f"In a worker:\n{traceback.format_exc()}")
            return failure


@contextlib.contextmanager
def attempt(file: Path) -> Iterator[None]:
    """Leave a mark next to a part's file while it is made: Ray itself would begin it for ever.

    A RunError if as many workers as are allowed died in the middle of it.
    """
    marks = list(file.parent.glob(f".{file.name}.*.begun"))
    if len(marks) >= ATTEMPTS:
        raise RunError(
            f"Workers died {len(marks)} times in the middle of {file.name}. One of its images may "
            "need more memory than there is, or crash its decoder: move it away, and give the "
            "command again."
        )
    mark = file.parent / f".{file.name}.{uuid4().hex}.begun"
    mark.touch()
    try:
        yield
    finally:
        for left in (mark, *marks):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(address: str | None, cores: int | None) -> Iterator[None]:
    """Connect to a cluster, or start one with so many cores on this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            host, _, port = address.rpartition(":")
            if host and "//" not in address:
                # Ray itself would try for many minutes.
                socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
        else:
            options |= {"num_cpus": cores}
            options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        ray.init(address or "local", **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"Ray at {address or 'this machine'} does not answer: {error}. Check --ray-address, "
            "`ray status` on its head, and that Ray and Python have the same versions there."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
