"""One worker: a model opened once, and part after part of the archive inspected with it."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from omnial._version import __version__
from omnial.batch.archive_job import Job, model_digest, open_listing, paths_of
from omnial.data.records import BadFile
from omnial.errors import RunError
from omnial.files import replacing, writing
from omnial.inference.inputs import name_results
from omnial.inference.inspector import Inspector, hold_process
from omnial.inference.pictures import Pictures
from omnial.inference.predictor import Row, each_row
from omnial.untrusted import JSON

PREDICTIONS: Final = "predictions"
"""Folder of the Parquet files, one a part."""
_required = partial(pa.field, nullable=False)
_OUTLINE: Final = pa.struct(
    [
        _required("polygon", pa.list_(pa.list_(pa.float64(), 2))),
        _required("area", pa.int64()),
        _required("peak", pa.float64()),
    ]
)
SCHEMA: Final = pa.schema(
    [
        _required("path", pa.string()),
        ("class", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("anomalous", pa.bool_()),
        _required("outlines", pa.list_(_OUTLINE)),
        ("map", pa.string()),
        ("error", pa.string()),
    ]
)
"""The columns are the keys of a row of `predictions.jsonl`; docs/batch.md describes them."""


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to start. Its paths are absolute."""

    job: Job
    model: Path
    out: Path
    device: str
    threads: int | None = None
    """Threads of the engine in one call; None leaves it the choice. PyTorch's number then holds
    for the worker's process."""


@dataclass(frozen=True)
class PartResult:
    """Counts of a part."""

    number: int
    images: int
    """Unreadable ones among them."""
    anomalous: int
    errors: tuple[BadFile, ...]
    worker: str
    """`HOST:PROCESS`; empty where an earlier run did it."""
    core_seconds: float
    """Processor time that it took, of all threads; 0 where it was there already."""


class Worker:
    """Opens the model, and inspects parts.

    Args:
        assignment: The job, and where the files are.

    Raises:
        RunError: This machine has another version of omnial or another model than the one that
            started the job, or the listing cannot be read.
        UserError: As `Inspector`.
    """

    def __init__(self, assignment: Assignment) -> None:
        job = assignment.job
        if job.version != __version__:
            raise RunError(f"{socket.gethostname()} has omnial {__version__}, not {job.version}")
        if model_digest(assignment.model) != job.model:
            raise RunError(f"{socket.gethostname()} has another model in {assignment.model}")
        self._job, self._out = job, assignment.out
        self._listing = open_listing(assignment.out)
        self._inspector = Inspector(
            assignment.model,
            device=assignment.device,
            batch_size=job.batch_size,
            threads=assignment.threads,
            reading=job.reading,
        )
        hold_process(self._inspector, assignment.threads)

    def inspect(self, part: int) -> PartResult:
        """Inspect a part and write its Parquet file, after its pictures.

        Raises:
            RunError: The results could not be written.
        """
        pictures = pictures_of(self._out, part) if self._job.pictures else None
        start = time.process_time()
        sources = name_results(paths_of(self._listing, part))
        with writing("The results", self._out):
            if pictures is not None:
                pictures.make_folders()
            found = each_row(
                *(self._inspector, sources, self._job.class_name),
                tile=self._job.tile or "auto",
                pictures=pictures,
                base=self._job.base,
            )
            # Other bytes than UTF-8 in file names become escapes, as in JSON.
            rows = [{key: _utf8(value) for key, value in row.items()} for row in found]
            table = pa.Table.from_pylist(rows, schema=SCHEMA)
            # A worker that is believed dead may still write the same file.
            with replacing(part_file(self._out, part), rivals=True) as draft:
                pq.write_table(table, draft, compression="zstd")
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return _count(part, rows, worker, time.process_time() - start)


def part_file(out: Path, part: int) -> Path:
    """The Parquet file of a part: in order of the names, the files are in order of the images."""
    return out / PREDICTIONS / f"part-{part:06}.parquet"


def pictures_of(out: Path, part: int) -> Pictures:
    """Where the pictures of a part go. A worker that is believed dead may still write them."""
    return Pictures(out, f"{part:06}", rivals=True)


def finished(out: Path, part: int) -> PartResult | None:
    """Result of a part that an earlier run did; None where it is still to be done.

    Raises:
        RunError: Its file is there and cannot be read.
    """
    path = part_file(out, part)
    if not path.exists():
        return None
    try:
        rows = pq.read_table(path, schema=SCHEMA, columns=["path", "anomalous", "error"])
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: {error}. Remove the file, and the part is done again.") from error
    return _count(part, rows.to_pylist())


def _count(part: int, rows: Sequence[Row], worker: str = "", seconds: float = 0.0) -> PartResult:
    bad = [row for row in rows if row["error"] is not None]
    errors = tuple(BadFile(Path(str(row["path"])), str(row["error"])) for row in bad)
    anomalous = sum(row["anomalous"] is True for row in rows)
    return PartResult(part, len(rows), anomalous, errors, worker, seconds)


def _utf8(value: JSON) -> JSON:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
