"""Inspect images: a decision, a score map, an overlay and a row of `predictions.jsonl` each.

Rows go to `predictions.jsonl.part`, which gets its name when all are there. A folder holds the
results of one run: those of an earlier one stay until the end, and are then replaced.
"""

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from omnial.data.image_file import ImageError
from omnial.data.listing import mark_own
from omnial.data.prefetch import prefetch
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.files import (
    PART,
    StrPath,
    as_path,
    as_paths,
    failure,
    locked,
    replace_together,
    replacing,
    scratch_in,
    writing,
)
from omnial.inference.inputs import Source, list_inputs
from omnial.inference.inspection import Inspection
from omnial.inference.inspector import Inspector, ScoredImage, Tile
from omnial.untrusted import JSON

PREDICTIONS_FILE = "predictions.jsonl"
MAPS, OVERLAYS = "maps", "overlays"
JOB_FILE = "job.json"
"""What the results of an archive are known by, see `omnial.batch.archive.Job`."""
Row = dict[str, JSON]
_LONGEST_JPEG = 65_500


@dataclass
class PredictSummary:
    """Summary of a prediction."""

    n_images: int = 0
    """Files taken up, the unreadable ones among them."""
    n_anomalous: int = 0
    errors: list[BadFile] = field(default_factory=list)
    """Files that could not be inspected; with any, the command line ends with exit code 1."""


class Pictures(NamedTuple):
    """Where pictures go: `maps/GROUP/NAME.png` and `overlays/GROUP/NAME.jpg` in a folder."""

    out: Path
    group: str = ""
    """A folder below `maps` and `overlays`, so that none of them holds too many files."""
    rivals: bool = False
    """Another process may write the same pictures at the same time."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those of maps and of overlays."""
        return tuple(self.out / kind / self.group for kind in (MAPS, OVERLAYS))

    def make_folders(self) -> None:
        """Make the folders, and mark them as folders of results."""
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for kind in (MAPS, OVERLAYS):
            mark_own(self.out / kind)

    def write(self, name: str, inspection: Inspection) -> str:
        """Path of an image's map, 16 bit, 65535 = probability 1, written with its overlay."""
        map_path = Path(MAPS, self.group, f"{name}.png")
        levels = np.rint(inspection.score_map * np.float32(65535)).astype(np.uint16)
        # The disk may take its time with these: there may be thousands.
        with replacing(self.out / map_path, flush=False, rivals=self.rivals) as part:
            Image.fromarray(levels).save(part, "PNG", compress_level=3)
        picture = Image.fromarray(inspection.overlay())
        suffix, kind = ("jpg", "JPEG") if max(picture.size) <= _LONGEST_JPEG else ("png", "PNG")
        file = self.out / OVERLAYS / self.group / f"{name}.{suffix}"
        with replacing(file, flush=False, rivals=self.rivals) as part:
            picture.save(part, kind, quality=90)
        return map_path.as_posix()

    def remove(self, names: Iterable[str], keep: Container[str] = ()) -> None:
        """Remove the maps and overlays of images, all but those whose paths, with `/`, stay."""
        maps, overlays = self.folders
        for name in names:
            for file in (maps / f"{name}.png", overlays / f"{name}.jpg", overlays / f"{name}.png"):
                if file.relative_to(self.out).as_posix() not in keep:
                    file.unlink(missing_ok=True)


def predict(
    inspector: Inspector,
    paths: StrPath | Iterable[StrPath],
    *,
    out: StrPath,
    class_name: str | None = None,
    tile: Tile = "auto",
    pictures: bool = True,
    on_image: Callable[[Row], None] | None = None,
) -> PredictSummary:
    """Inspect images and write what was found.

    Writes into `out`: `predictions.jsonl`, a row an image in the order of the files;
    `maps/NAME.png`, the score map at the source's size, 16 bit, 65535 = probability 1; and
    `overlays/NAME.jpg`, the image with map and outlines. Outlines are in source pixels, with
    whole numbers at pixel centres, and only anomalous images have them: the regions above the
    model's pixel level, or, where that finds none, those above half of the map's peak.

    Args:
        inspector: The model, on any engine.
        paths: Image files and folders.
        out: Folder for the results; those of an earlier run are replaced when all is done.
        class_name: As for `Inspector.inspect`.
        tile: As for `Inspector.inspect`.
        pictures: Write maps and overlays; without them, `map` is null in every row.
        on_image: Called with each row, in order.

    Returns:
        Counts, and the files that could not be inspected; these have a row with an error.

    Raises:
        UserError: The model does not know the class, a path does not exist, there is no image,
            or `out` cannot be made, is in use or holds an archive's results. Nothing has been
            written then.
        RunError: A result could not be written.
        TypeError: An argument is of another kind.

    Example:
        >>> import omnial
        >>> summary = omnial.predict(omnial.Inspector("model"), "new_pictures", out="results")
        >>> print(summary.n_images, summary.n_anomalous)  # doctest: +ELLIPSIS
        1 ...
    """
    if not isinstance(inspector, Inspector):
        raise TypeError(f"inspector is an omnial.Inspector, not {type(inspector).__name__}")
    out = as_path(out, "out")
    inspector.check_class(class_name)
    sources = list_inputs(as_paths(paths, "paths"))

    def write(folder: Path) -> PredictSummary:
        shown = Pictures(folder) if pictures else None
        rows = each_row(inspector, sources, class_name, tile=tile, pictures=shown)
        return _write(sources, rows, folder, on_image)

    if (out / JOB_FILE).exists():
        raise UserError(f"{out} holds the results of an archive ({JOB_FILE}). Name another folder.")
    with locked(out):
        try:
            if pictures:
                Pictures(out).make_folders()
        except OSError as error:
            raise UserError(failure("No results could be written", out, error)) from error
        with writing("The results", out):
            # Pictures that an interrupted run wrote before their rows may be of these images.
            stale = {*_named(out), *(source.name for source in sources)}
            if not (out / PREDICTIONS_FILE).exists():
                Pictures(out).remove(stale)
                return write(out)
            with scratch_in(out) as scratch:
                if pictures:
                    Pictures(scratch).make_folders()
                summary = write(scratch)
                files = [path for path in sorted(scratch.rglob("*")) if path.is_file()]
                names = [path.relative_to(scratch).as_posix() for path in files]
                # The rows come last: until then, the earlier ones say which pictures are stale.
                names.remove(PREDICTIONS_FILE)
                replace_together(scratch, out, names, flush=False)
                Pictures(out).remove(stale, keep=set(names))
                replace_together(scratch, out, [PREDICTIONS_FILE], flush=False)
            return summary


def _named(out: Path) -> Iterator[str]:
    """Names of the pictures in the rows that earlier runs left in a folder."""
    for path in (out / PREDICTIONS_FILE, out / (PREDICTIONS_FILE + PART)):
        if not path.exists():
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                # The last line of a run that was killed may be cut; without a map, it is null.
                with suppress(ValueError, KeyError, TypeError):
                    yield Path(json.loads(line)["map"]).stem


def _write(
    sources: Sequence[Source],
    rows: Iterator[Row],
    out: Path,
    on_image: Callable[[Row], None] | None,
) -> PredictSummary:
    summary = PredictSummary()
    part = out / (PREDICTIONS_FILE + PART)
    with part.open("w", encoding="utf-8") as file:
        for source, row in zip(sources, rows, strict=True):
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            summary.n_images += 1
            summary.n_anomalous += row["anomalous"] is True
            if row["error"] is not None:
                summary.errors.append(BadFile(source.path, str(row["error"])))
            if on_image is not None:
                on_image(row)
        os.fsync(file.fileno())
    os.replace(part, out / PREDICTIONS_FILE)
    return summary


def each_row(
    inspector: Inspector,
    sources: Sequence[Source],
    class_name: str | None = None,
    *,
    tile: Tile = "auto",
    pictures: Pictures | None = None,
    base: Path = Path(),
) -> Iterator[Row]:
    """Inspect images and write their pictures; a row each, in order, as `predict` describes it.

    Relative paths of the sources start from `base`.
    """
    inspector.check_class(class_name)

    def finish(item: tuple[Source, ScoredImage | ImageError]) -> Row:
        source, scored_image = item
        inspection = inspector.finish(scored_image)
        if isinstance(inspection, ImageError):
            empty: Row = dict.fromkeys(("score", "threshold", "anomalous"))
            row = {"path": str(source.path), "class": class_name, **empty}
            return {**row, "outlines": [], "map": None, "error": inspection.reason}
        return {
            **inspection.to_dict(),
            "path": str(source.path),
            "map": None if pictures is None else pictures.write(source.name, inspection),
            "error": None,
        }

    paths = [base / source.path for source in sources]
    scored = inspector.score(paths, class_name, tile=tile)
    yield from prefetch(finish, zip(sources, scored, strict=True), inspector.workers)
