"""The parts of an archive: the job that they belong to, their images, and a worker that does them.

`job.json` in the folder of the results keeps the parts of two jobs apart. `listing.parquet`,
written once, has a row group of paths for each part: a worker reads its own part alone, and an
archive that grows later does not shift the parts of a job that has begun.
"""

import hashlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from omnial._version import __version__
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.records import BadFile
from omnial.errors import RunError, UserError
from omnial.files import file_digest, replacing, writing
from omnial.inference.inputs import each_image, name_results, no_images
from omnial.inference.inspector import Inspector, hold_process
from omnial.inference.predictor import JOB_FILE, Pictures, Row, each_row
from omnial.model_folder.config_file import CONFIG_FILE, read_config
from omnial.model_folder.export_folder import EXPORT_FILE
from omnial.progress import Progress, silent
from omnial.untrusted import JSON

LISTING_FILE: Final = "listing.parquet"
PREDICTIONS: Final = "predictions"
"""Folder of the Parquet files, one a part."""
_required = partial(pa.field, nullable=False)
_PATHS: Final = pa.schema([_required("path", pa.binary())])
"""Names of files are bytes, and need not be UTF-8."""
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


class Job(BaseModel):
    """Everything that a row depends on. Two runs of equal jobs may share their parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = __version__
    """Version of omnial."""
    model: str
    """Digest of the model folder, see `model_digest`."""
    base: Path
    """What relative paths start from, absolute: the folder that the command was given in."""
    paths: tuple[str, ...]
    """Files and folders as the user named them."""
    class_name: str | None
    """The product; None recognises it, image by image."""
    tile: int | None
    """Edge of tiles in source pixels; None: as the thresholds were calibrated."""
    batch_size: int
    """Images that the network gets at once."""
    part_images: int
    """Images of a part, a multiple of `batch_size`: every part begins with a batch of its own,
    as it would if all images were inspected in one go."""
    pictures: bool
    """Whether maps and overlays are written."""
    reading: Reading = AS_TRAINED
    """How images are read, where that differs from the training."""


def model_digest(folder: Path) -> str:
    """SHA-256 of the configuration of a model or export folder.

    The weights are not read: `config.json` and `export.json` hold their digests, which are
    compared when the folder is opened.

    Raises:
        UserError: It is no such folder.
    """
    read_config(folder)
    found = [folder / name for name in (CONFIG_FILE, EXPORT_FILE) if (folder / name).is_file()]
    return hashlib.sha256("".join(file_digest(path) for path in found).encode()).hexdigest()


def is_begun(out: Path, job: Job) -> bool:
    """Whether a folder holds this job's results already, complete or not.

    Raises:
        UserError: It holds another job's, or cannot be read.
    """
    path = out / JOB_FILE
    try:
        other = Job.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Name another folder.") from error
    except ValidationError as error:
        raise UserError(
            f"{path} cannot be understood ({error.error_count()} errors): it is damaged, or of "
            "another version of omnial. Name another folder for the results."
        ) from error
    changed = [name for name in Job.model_fields if getattr(job, name) != getattr(other, name)]
    if changed:
        raise UserError(
            f"{out} holds the results of another job: {', '.join(changed)} differ from "
            f"{path}. Name another folder, or give that job's command to go on with it."
        )
    return True


def begin(out: Path, job: Job, paths: Sequence[Path], progress: Progress = silent) -> None:
    """List the images of a new job, and make the folder of the results this job's.

    Raises:
        UserError: As `each_image`, or there is no image at all; nothing has been written then,
            unless a folder that cannot be read was met late.
        OSError: A file cannot be written.
    """
    found, images = each_image(paths), 0
    part = list(islice(found, job.part_images))
    if not part:
        raise no_images(paths)
    with replacing(out / LISTING_FILE) as draft, pq.ParquetWriter(draft, _PATHS) as writer:
        while part:
            table = pa.table({"path": [os.fsencode(path) for path in part]}, _PATHS)
            writer.write_table(table, row_group_size=len(part))
            images += len(part)
            progress("listing", images, images)
            part = list(islice(found, job.part_images))
    with replacing(out / JOB_FILE) as draft:
        draft.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")


def open_listing(out: Path) -> pq.ParquetFile:
    """The images of a job that was begun, a row group for each part.

    Raises:
        RunError: It is damaged.
    """
    path = out / LISTING_FILE
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{path} cannot be read ({error}). Name another folder for the results."
        ) from error


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
        names = self._listing.read_row_group(part)["path"].to_pylist()
        sources = name_results([Path(os.fsdecode(name)) for name in names])
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
