"""Inspect an archive: list it, leave out the parts that are there, do the others, add up."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from omnial.batch.job import Job, begin, is_begun, model_digest
from omnial.batch.listing import Listing, Part, read_listing, write_listing
from omnial.batch.worker import (
    PREDICTIONS,
    Assignment,
    PartResult,
    Worker,
    finished,
    pictures_of,
)
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.files import PART, locked, writing
from omnial.inference.inspector import check_class
from omnial.inference.predictor import PREDICTIONS_FILE
from omnial.model_folder.config_file import read_config

PART_IMAGES: Final = 1024
_NAMED_ERRORS = 1000


class Engine(Protocol):
    """Who does the parts. They may come back in any order, each once."""

    def __call__(
        self, assignment: Assignment, parts: Sequence[Part]
    ) -> contextlib.AbstractContextManager[Iterator[PartResult]]:
        """Start the workers; results come as parts are done, and the workers end with the block.

        Raises:
            UserError: The engine cannot start.
            RunError: A part failed.
        """
        ...


@dataclass
class ArchiveSummary:
    """What came of an archive."""

    predictions: Path
    """The folder of Parquet files."""
    n_images: int = 0
    """Files taken up, the unreadable ones among them."""
    n_anomalous: int = 0
    n_errors: int = 0
    """Files that could not be inspected."""
    errors: list[BadFile] = field(default_factory=list)
    """The first thousand of them."""
    n_parts: int = 0
    n_kept: int = 0
    """Parts that an earlier run had done."""
    core_seconds: float = 0.0
    """Processor time of the others, without that of starting."""

    def add(self, result: PartResult) -> None:
        """Count a part."""
        self.n_parts += 1
        self.n_images += result.images
        self.n_anomalous += result.anomalous
        self.n_errors += len(result.unreadable)
        self.core_seconds += result.core_seconds
        room = _NAMED_ERRORS - len(self.errors)
        named = (BadFile(Path(bad.path), bad.error) for bad in result.unreadable[:room])
        self.errors.extend(named)


@contextlib.contextmanager
def in_this_process(
    assignment: Assignment, parts: Sequence[Part]
) -> Iterator[Iterator[PartResult]]:
    """The engine that does one part after the other, here."""
    yield map(Worker(assignment).inspect, parts)


def inspect_archive(
    model: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    engine: Engine = in_this_process,
    class_name: str | None = None,
    tile: int | None = None,
    batch_size: int = 8,
    part_images: int = PART_IMAGES,
    pictures: bool = True,
    reading: Reading = AS_TRAINED,
    device: str = "auto",
    threads: int | None = None,
    on_listing: Callable[[int], None] | None = None,
    on_part: Callable[[PartResult, int], None] | None = None,
) -> ArchiveSummary:
    """Inspect images and write what was found to Parquet.

    Writes into `out`: `predictions/part-NNNNNN.parquet`, whose rows in order of the files' names
    are those of `omnial.inference.predictor.predict`; `maps/NNNNNN/NAME.png` and
    `overlays/NNNNNN/NAME.jpg`; `job.json` and `listing/`. The same call after an interruption
    does the parts that are missing. Memory holds the rows of a part, never those of the archive.

    Args:
        model: A model folder or an export folder, for Ray one that every node sees.
        paths: Image files and folders.
        out: Folder for the results.
        engine: Who does the parts.
        class_name: The product; None lets the model recognise it, image by image.
        tile: Edge of tiles in source pixels; None: as the thresholds were calibrated.
        batch_size: Images or tiles at once.
        part_images: Images of a part, rounded up to whole batches.
        pictures: Write maps and overlays.
        reading: How pictures are read, where that differs from the training.
        device: See `Inspector`.
        threads: Threads of a worker's engine; None leaves it the choice, on Ray it means 1. Rows
            are equal bit for bit only where the numbers are.
        on_listing: Called with the number of images found so far.
        on_part: Called with each part's result, in the order that they are done, parts of an
            earlier run first, and the number of all images.

    Raises:
        UserError: The model does not know the class, a path does not exist, there is no image,
            or `out` holds the results of another job, cannot be written to or is in use.
        RunError: A part failed, or a result could not be written.
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
    assignment = Assignment(job, model.absolute(), out.absolute(), device, threads)
    with locked(out):
        listing = _listing(out, job, paths, on_listing)
        return _inspect(out, listing, assignment, engine, on_part)


def _listing(
    out: Path, job: Job, paths: Sequence[Path], on_listing: Callable[[int], None] | None
) -> Listing:
    """The archive's listing, written now unless an earlier run did."""
    if is_begun(out, job):
        return read_listing(out)
    if any((out / name).exists() for name in (PREDICTIONS_FILE, PREDICTIONS_FILE + PART)):
        raise UserError(
            f"{out} holds the results of another run, as {PREDICTIONS_FILE}. Name another folder."
        )
    with writing("The listing of the archive", out):
        listing = write_listing(out, paths, job.part_images, on_part=on_listing)
        begin(out, job)
    return listing


def _inspect(
    out: Path,
    listing: Listing,
    assignment: Assignment,
    engine: Engine,
    on_part: Callable[[PartResult, int], None] | None,
) -> ArchiveSummary:
    """Do the parts that are missing."""
    summary = ArchiveSummary(out / PREDICTIONS)
    missing = []

    def count(result: PartResult) -> None:
        summary.add(result)
        if on_part is not None:
            on_part(result, listing.images)

    for part in listing.parts:
        before = finished(out, part)
        if before is None:
            missing.append(part)
        else:
            summary.n_kept += 1
            count(before)
    if missing:
        _do(assignment, missing, engine, count)
    return summary


def _do(
    assignment: Assignment,
    parts: Sequence[Part],
    engine: Engine,
    count: Callable[[PartResult], None],
) -> None:
    folder = assignment.out / PREDICTIONS
    with writing("The results", folder):
        folder.mkdir(exist_ok=True)
        # An earlier attempt may have drawn what this one cannot read.
        for part in parts:
            for pictures in pictures_of(assignment.out, part).folders:
                shutil.rmtree(pictures, ignore_errors=True)
        _clean(assignment, parts)
        with engine(assignment, parts) as results:
            for result in results:
                count(result)
        _clean(assignment, parts)


def _clean(assignment: Assignment, parts: Sequence[Part]) -> None:
    """Remove what workers that died had begun to write, all of it hidden."""
    folders = [assignment.out / PREDICTIONS]
    if assignment.job.pictures:
        for part in parts:
            folders += pictures_of(assignment.out, part).folders
    for folder in folders:
        for begun in folder.glob(".*"):
            begun.unlink(missing_ok=True)
