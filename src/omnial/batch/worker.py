"""One worker: a model opened once, and part after part of the archive inspected with it."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from omnial._version import __version__
from omnial.batch.job import Job, model_digest
from omnial.batch.listing import Part, read_part
from omnial.batch.rows import read_rows, write_rows
from omnial.errors import RunError
from omnial.files import writing
from omnial.inference.collect import name_results
from omnial.inference.inspector import Inspector, hold_process
from omnial.inference.pictures import Pictures
from omnial.inference.predictor import Row, each_row

PREDICTIONS = "predictions"
"""Folder of the Parquet files, one a part."""


@dataclass(frozen=True)
class Assignment:
    """What a worker is told when it starts. Its paths are absolute."""

    job: Job
    model: Path
    out: Path
    device: str
    threads: int | None = None
    """Threads of the engine in one call; None leaves it the choice. PyTorch's number then holds
    for the worker's process."""


class Unreadable(BaseModel):
    """A file that could not be inspected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    error: str


class PartResult(BaseModel):
    """What came of a part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    images: int
    """Unreadable ones among them."""
    anomalous: int
    unreadable: tuple[Unreadable, ...]
    worker: str
    """`HOST:PROCESS` of who did it."""
    core_seconds: float
    """Processor time that it took, of all threads; 0 where it was there already."""


class Worker:
    """Opens the model, and inspects parts.

    Args:
        assignment: The job and where things are.

    Raises:
        RunError: This machine has another version of omnial or another model than the one that
            started the job.
        UserError: As `Inspector`.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._told = assignment
        job = assignment.job
        if job.version != __version__:
            raise RunError(f"{socket.gethostname()} has omnial {__version__}, not {job.version}")
        if model_digest(assignment.model) != job.model:
            raise RunError(f"{socket.gethostname()} has another model in {assignment.model}")
        self._inspector = Inspector(
            assignment.model,
            device=assignment.device,
            batch_size=job.batch_size,
            threads=assignment.threads,
            reading=job.reading,
        )
        hold_process(self._inspector, assignment.threads)

    def inspect(self, part: Part) -> PartResult:
        """Inspect a part and write its Parquet file, after its pictures.

        Raises:
            RunError: Listing or results could not be read or written.
        """
        told, job = self._told, self._told.job
        pictures = pictures_of(told.out, part) if job.pictures else None
        start = time.process_time()
        sources = name_results(read_part(told.out, part))
        with writing("The results", told.out):
            if pictures is not None:
                pictures.make_folders()
            rows = list(
                each_row(
                    self._inspector,
                    sources,
                    job.class_name,
                    tile=job.tile or "auto",
                    pictures=pictures,
                    base=job.base,
                )
            )
            write_rows(part_file(told.out, part), rows)
        return _result(part, rows, this_worker(), time.process_time() - start)


def this_worker() -> str:
    """`HOST:PROCESS`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def part_file(out: Path, part: Part) -> Path:
    """The Parquet file of a part: in order of the names, the files are in order of the images."""
    return out / PREDICTIONS / f"part-{part.number:06}.parquet"


def pictures_of(out: Path, part: Part) -> Pictures:
    """Where the pictures of a part go. A worker that is believed dead may still write them."""
    return Pictures(out, f"{part.number:06}", rivals=True)


def finished(out: Path, part: Part) -> PartResult | None:
    """What an earlier run made of a part; None where it is still to be done.

    Raises:
        RunError: Its file is there and cannot be read.
    """
    path = part_file(out, part)
    if not path.exists():
        return None
    try:
        return _result(part, read_rows(path), "an earlier run", 0.0)
    except OSError as error:
        raise RunError(f"{error}. Remove the file, and the part is done again.") from error


def _result(part: Part, rows: list[Row], worker: str, core_seconds: float) -> PartResult:
    return PartResult(
        number=part.number,
        images=len(rows),
        anomalous=sum(row["anomalous"] is True for row in rows),
        unreadable=tuple(
            Unreadable(path=str(row["path"]), error=str(row["error"]))
            for row in rows
            if row["error"] is not None
        ),
        worker=worker,
        core_seconds=core_seconds,
    )
