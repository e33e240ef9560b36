"""Inspect an archive: list it, leave out the parts that are there, do the others, add up."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from omnial.batch.archive_parts import (
    PREDICTIONS,
    Assignment,
    Job,
    PartResult,
    Worker,
    begin,
    finished,
    is_begun,
    model_digest,
    open_listing,
    pictures_of,
)
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.files import PART, locked, writing
from omnial.inference.inspector import check_class
from omnial.inference.predictor import PREDICTIONS_FILE
from omnial.model_folder.config_file import read_config
from omnial.progress import Progress, silent

_NAMED_ERRORS: Final = 1000

Engine: TypeAlias = Callable[[Assignment, Sequence[int]], Iterator[PartResult]]
"""Does the parts, which may come back in any order, each once."""


@dataclass
class ArchiveSummary:
    """Counts of an archive."""

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
    are those of `omnial.inference.predictor.predict`; `maps/NNNNNN/NAME.png` and
    `overlays/NNNNNN/NAME.jpg`; `job.json` and `listing.parquet`. The same call after an
    interruption does the parts that are missing. Memory holds the rows of a part, never those of
    the archive.

    `model`, on Ray one that every node sees, may be an export folder. `part_images` is rounded up
    to whole batches. `device` is that of `Inspector`. `threads` are those of a worker's engine:
    None leaves it the choice, on Ray it means 1, and rows are equal bit for bit only where the
    numbers are. `Job` describes the others.

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
    with locked(out):
        if not is_begun(out, job):
            if any((out / name).exists() for name in (PREDICTIONS_FILE, PREDICTIONS_FILE + PART)):
                raise UserError(
                    f"{out} holds the results of another run, as {PREDICTIONS_FILE}. "
                    "Name another folder."
                )
            with writing("The listing of the archive", out):
                begin(out, job, paths, progress)
        listing, summary = open_listing(out).metadata, ArchiveSummary(out / PREDICTIONS)
        missing = []
        for part in range(listing.num_row_groups):
            if (before := finished(out, part)) is None:
                missing.append(part)
            else:
                summary.add(before)
        summary.n_kept = summary.n_parts
        progress("inspecting", summary.n_images, listing.num_rows)
        if missing:
            drawn = [folder for part in missing for folder in pictures_of(out, part).folders]
            assignment = Assignment(job, model.absolute(), out.absolute(), device, threads)
            with writing("The results", summary.predictions):
                summary.predictions.mkdir(exist_ok=True)
                # An earlier attempt may have drawn what this one cannot read.
                for folder in drawn:
                    shutil.rmtree(folder, ignore_errors=True)
                _remove_drafts([summary.predictions])
                for result in engine(assignment, missing):
                    summary.add(result)
                    progress("inspecting", summary.n_images, listing.num_rows)
                _remove_drafts([summary.predictions, *drawn])
    return summary


def _remove_drafts(folders: Iterable[Path]) -> None:
    """Remove what workers that died had begun to write, all of it hidden."""
    for draft in (draft for folder in folders for draft in folder.glob(".*")):
        draft.unlink(missing_ok=True)
