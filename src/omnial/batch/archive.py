"""Archives: inspected part by part, in this process or by an engine with workers, to Parquet.

`job.json` in the folder of the results keeps the parts of two jobs apart. `listing.parquet`,
written once, has a row group of paths for each part: a worker reads its own part alone, and an
archive that grows later does not shift the parts of a job that has begun.
"""

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from omnial._version import __version__
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.records import BadFile
from omnial.errors import RunError, UserError
from omnial.files import PART, file_digest, locked, replacing, writing
from omnial.inference.inputs import each_image, name_results, no_images
from omnial.inference.inspector import Inspector, check_class, hold_process
from omnial.inference.predictor import (
    JOB_FILE,
    PREDICTIONS_FILE,
    Pictures,
    PredictSummary,
    Row,
    each_result,
)
from omnial.model_folder.config_file import CONFIG_FILE, read_config
from omnial.model_folder.export_folder import EXPORT_FILE
from omnial.progress import Progress, silent
from omnial.untrusted import JSON

LISTING_FILE: Final = "listing.parquet"
PREDICTIONS: Final = "predictions"
"""Folder of the Parquet files, one a part."""
_NAMED_ERRORS: Final = 1000
_required = partial(pa.field, nullable=False)
_PATHS: Final = pa.schema([_required("path", pa.binary())])
"""Names of files are bytes, and need not be UTF-8."""
_POLYGON: Final = _required("polygon", pa.list_(pa.list_(pa.float64(), 2)))
_OUTLINE: Final = [_POLYGON, _required("area", pa.int64()), _required("peak", pa.float64())]
SCHEMA: Final = pa.schema(
    [
        _required("path", pa.string()),
        ("class", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("anomalous", pa.bool_()),
        _required("outlines", pa.list_(pa.struct(_OUTLINE))),
        ("map", pa.string()),
        ("error", pa.string()),
    ]
)
"""The columns are the keys of a row of `predictions.jsonl`; docs/batch.md describes them."""


class Job(BaseModel):
    """Everything that a row depends on. Two runs of equal jobs may share their parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = __version__
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
    part_images: int
    """Images of a part, a multiple of `batch_size`: every part begins with a batch of its own,
    as it would if all images were inspected in one go."""
    pictures: bool
    reading: Reading = AS_TRAINED


def model_digest(folder: Path) -> str:
    """SHA-256 of the configuration of a model or export folder, which holds its files' digests."""
    read_config(folder)
    found = [folder / name for name in (CONFIG_FILE, EXPORT_FILE) if (folder / name).is_file()]
    return hashlib.sha256("".join(file_digest(path) for path in found).encode()).hexdigest()


def is_begun(out: Path, job: Job) -> bool:
    """Whether a folder holds this job's results already; a UserError if it holds another job's."""
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


def begin(out: Path, job: Job, progress: Progress = silent) -> None:
    """List the images of a new job, and make the folder of the results this job's."""
    paths = [Path(path) for path in job.paths]
    found, images = each_image(paths), 0
    with replacing(out / LISTING_FILE) as draft, pq.ParquetWriter(draft, _PATHS) as writer:
        while part := list(islice(found, job.part_images)):
            table = pa.table({"path": [os.fsencode(path) for path in part]}, _PATHS)
            writer.write_table(table, row_group_size=len(part))
            images += len(part)
            progress("listing", images, images)
        if not images:
            raise no_images(paths)
    with replacing(out / JOB_FILE) as draft:
        draft.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")


def open_listing(out: Path) -> pq.ParquetFile:
    """The images of a job that was begun, a row group for each part; a RunError if damaged."""
    path = out / LISTING_FILE
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = f"{path} cannot be read ({error}). Name another folder for the results."
        raise RunError(reason) from error


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to start. Its paths are absolute."""

    job: Job
    model: Path
    out: Path
    device: str
    threads: int | None = None
    """Threads of the engine in one call; None leaves it the choice."""


@dataclass(frozen=True)
class PartResult:
    """Counts of a part."""

    images: int
    """Unreadable ones among them."""
    anomalous: int
    errors: tuple[BadFile, ...]
    worker: str
    """`HOST:PROCESS`; empty where an earlier run did it."""
    core_seconds: float
    """Processor time that it took, of all threads; 0 where it was there already."""

    @classmethod
    def of(cls, rows: Sequence[Row], worker: str = "", seconds: float = 0.0) -> "PartResult":
        """Count the rows of a part."""
        bad = [row for row in rows if row["error"] is not None]
        errors = tuple(BadFile(Path(str(row["path"])), str(row["error"])) for row in bad)
        anomalous = sum(row["anomalous"] is True for row in rows)
        return cls(len(rows), anomalous, errors, worker, seconds)


class Worker:
    """Opens the model, and inspects parts.

    A RunError says that this machine has another omnial or model than the one that began the job.
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
        """Inspect a part and write its Parquet file, after its pictures."""
        pictures = pictures_of(self._out, part) if self._job.pictures else None
        start = time.process_time()
        names = self._listing.read_row_group(part)["path"].to_pylist()
        sources = name_results([Path(os.fsdecode(name)) for name in names])
        with writing("The results", self._out):
            if pictures is not None:
                pictures.make_folders()
            found = each_result(
                *(self._inspector, sources, self._job.class_name),
                tile=self._job.tile or "auto",
                pictures=pictures,
                base=self._job.base,
            )
            rows = [{key: _utf8(value) for key, value in one.row.items()} for one in found]
            table = pa.Table.from_pylist(rows, schema=SCHEMA)
            # A worker that is believed dead may still write the same file.
            with replacing(part_file(self._out, part), rivals=True) as draft:
                pq.write_table(table, draft, compression="zstd")
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return PartResult.of(rows, worker, time.process_time() - start)


def part_file(out: Path, part: int) -> Path:
    """The Parquet file of a part: in order of the names, the files are in order of the images."""
    return out / PREDICTIONS / f"part-{part:06}.parquet"


def pictures_of(out: Path, part: int) -> Pictures:
    """Where the pictures of a part go. A worker that is believed dead may still write them."""
    return Pictures(out, f"{part:06}", rivals=True)


def finished(out: Path, part: int) -> PartResult | None:
    """Result of a part that an earlier run did; None where it is still to be done."""
    path = part_file(out, part)
    if not path.exists():
        return None
    try:
        rows = pq.read_table(path, schema=SCHEMA, columns=["path", "anomalous", "error"])
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: {error}. Remove the file, and the part is done again.") from error
    return PartResult.of(rows.to_pylist())


def _utf8(value: JSON) -> JSON:
    """Other bytes than UTF-8, as in file names, become escapes, as in JSON."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


Engine: TypeAlias = Callable[[Assignment, Sequence[int]], Iterator[PartResult]]
"""Does the parts, which may come back in any order, each once."""


@dataclass
class ArchiveSummary(PredictSummary):
    """Counts of an archive; its `errors` are the first thousand of `n_errors`."""

    n_errors: int = 0
    core_seconds: float = 0.0
    """Processor time of the parts that this run did, without that of starting."""

    def add(self, result: PartResult) -> None:
        """Count a part."""
        self.n_images += result.images
        self.n_anomalous += result.anomalous
        self.n_errors += len(result.errors)
        self.core_seconds += result.core_seconds
        self.errors.extend(result.errors[: _NAMED_ERRORS - len(self.errors)])


def in_this_process(assignment: Assignment, parts: Sequence[int]) -> Iterator[PartResult]:
    """Do one part after the other, here."""
    return map(Worker(assignment).inspect, parts)


def inspect_archive(
    model: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    engine: Engine = in_this_process,
    class_name: str | None = None,
    tile: int | None = None,
    batch_size: int = 8,
    part_images: int = 1024,
    pictures: bool = True,
    reading: Reading = AS_TRAINED,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> ArchiveSummary:
    """Inspect images and write what was found to Parquet.

    Writes into `out`: `predictions/part-NNNNNN.parquet`, whose rows in order of the files' names
    are those of `omnial.predict`; `maps/NNNNNN/NAME.png`, `masks/NNNNNN/NAME.png`
    and `overlays/NNNNNN/NAME.jpg`; `job.json` and `listing.parquet`. The same call after an
    interruption does the parts that are missing. Memory holds the rows of a part.

    `model`, on Ray one that every node sees, may be an export folder. `part_images` is rounded up
    to whole batches. `threads` are those of a worker's engine: None leaves it the choice, on Ray it
    means 1, and rows are equal bit for bit only where the numbers are. `Job` describes the others.
    """
    # Before any worker is started for nothing.
    check_class(class_name, read_config(model).classes)
    job = Job(
        model=model_digest(model),
        base=Path.cwd(),
        paths=tuple(map(str, paths)),
        class_name=class_name,
        tile=tile,
        batch_size=batch_size,
        part_images=-(-part_images // batch_size) * batch_size,
        pictures=pictures,
        reading=reading,
    )
    with locked(out):
        if not is_begun(out, job):
            if any((out / name).exists() for name in (PREDICTIONS_FILE, PREDICTIONS_FILE + PART)):
                other = f"{out} holds the results of another run, as {PREDICTIONS_FILE}."
                raise UserError(f"{other} Name another folder.")
            with writing("The listing of the archive", out):
                begin(out, job, progress)
        listing, predictions = open_listing(out).metadata, out / PREDICTIONS
        summary = ArchiveSummary()
        missing = []
        for part in range(listing.num_row_groups):
            if (before := finished(out, part)) is None:
                missing.append(part)
            else:
                summary.add(before)
        progress("inspecting", summary.n_images, listing.num_rows)
        if missing:
            drawn = [folder for part in missing for folder in pictures_of(out, part).folders]
            assignment = Assignment(job, model.absolute(), out.absolute(), device, threads)
            with writing("The results", predictions):
                predictions.mkdir(exist_ok=True)
                # An earlier attempt may have drawn what this one cannot read.
                for folder in drawn:
                    shutil.rmtree(folder, ignore_errors=True)
                _remove_drafts([predictions])
                for result in engine(assignment, missing):
                    summary.add(result)
                    progress("inspecting", summary.n_images, listing.num_rows)
                _remove_drafts([predictions, *drawn])
    return summary


def _remove_drafts(folders: Iterable[Path]) -> None:
    """Remove what workers that died had begun to write, all of it hidden."""
    for draft in (draft for folder in folders for draft in folder.glob(".*")):
        draft.unlink(missing_ok=True)
