"""Inspected images become rows of `predictions.jsonl`, maps, masks and overlays."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from omnial.data.image_file import ImageError
from omnial.data.listing import mark_own
from omnial.data.prefetch import prefetch
from omnial.data.records import BadFile
from omnial.files import replacing
from omnial.inference.inputs import Source
from omnial.inference.inspection import Inspection
from omnial.inference.inspector import Inspector, ScoredImage, Tile
from omnial.untrusted import JSON

PREDICTIONS_FILE: Final = "predictions.jsonl"
MAPS, MASKS, OVERLAYS = KINDS = ("maps", "masks", "overlays")
JOB_FILE: Final = "job.json"
"""What the results of an archive are known by, see `omnial.batch.archive.Job`."""
Row = dict[str, JSON]
_LONGEST_JPEG = 65_500


class Result(NamedTuple):
    """A row about an image, and what the row does not hold."""

    row: Row
    size: tuple[int, int] | None = None
    """(height, width) of the image; None where it cannot be read."""
    overlay: str | None = None
    """Path of the overlay within the folder of results, with forward slashes."""
    mask: str | None = None
    """Path of the mask, likewise."""


@dataclass
class PredictSummary:
    """Summary of a prediction."""

    n_images: int = 0
    """Files taken up, the unreadable ones among them."""
    n_anomalous: int = 0
    errors: list[BadFile] = field(default_factory=list)
    """Files that could not be inspected; with any, the command line ends with exit code 1."""
    images: Counter[str | None] = field(default_factory=Counter)
    """Inspected images of each product, None for an unknown one."""
    anomalous: Counter[str | None] = field(default_factory=Counter)
    """Those of them that are anomalous."""

    def count(self, row: Row) -> None:
        """Add a row."""
        self.n_images += 1
        if row["error"] is not None:
            self.errors.append(BadFile(Path(str(row["path"])), str(row["error"])))
            return
        product = None if row["class"] is None else str(row["class"])
        self.images[product] += 1
        if row["anomalous"]:
            self.n_anomalous += 1
            self.anomalous[product] += 1

    def by_product(self) -> list[tuple[str | None, int, int]]:
        """Name, inspected and anomalous images of each product, the unknown one last."""
        names = sorted(self.images, key=lambda name: (name is None, name or ""))
        return [(name, self.images[name], self.anomalous[name]) for name in names]


class Pictures(NamedTuple):
    """Where pictures go: `GROUP/NAME.png` in `maps` and `masks`, `GROUP/NAME.jpg` in `overlays`."""

    out: Path
    group: str = ""
    """A folder below each of these, so that none of them holds too many files."""
    rivals: bool = False
    """Another process may write the same pictures at the same time."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those of maps, of masks and of overlays."""
        return tuple(self.out / kind / self.group for kind in KINDS)

    def make_folders(self) -> None:
        """Make the folders, and mark them as folders of results."""
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            mark_own(self.out / kind)

    def write(self, name: str, inspection: Inspection) -> tuple[str, str, str]:
        """Write the pictures of an image; the paths of its map, its mask and its overlay.

        The map has 16 bits, 65535 = probability 1; the mask is 255 within outlines, 0 elsewhere.
        """
        levels = np.rint(inspection.score_map * np.float32(65535)).astype(np.uint16)
        mask = inspection.mask.astype(np.uint8) * np.uint8(255)
        overlay = inspection.overlay()
        form = "JPEG" if max(overlay.shape[:2]) <= _LONGEST_JPEG else "PNG"
        drawn = f"{name}.jpg" if form == "JPEG" else f"{name}.png"
        return (
            self._save(MAPS, f"{name}.png", levels, "PNG", compress_level=1),
            self._save(MASKS, f"{name}.png", mask, "PNG", compress_level=1),
            self._save(OVERLAYS, drawn, overlay, form, quality=90),
        )

    def _save(self, kind: str, name: str, pixels: Any, form: str, **options: int) -> str:
        path = PurePosixPath(kind, self.group, name)
        # The disk may take its time with these: there may be thousands.
        with replacing(self.out / path, flush=False, rivals=self.rivals) as part:
            Image.fromarray(pixels).save(part, form, **options)
        return str(path)

    def remove(self, names: Iterable[str], keep: Container[str] = ()) -> None:
        """Remove the pictures of images, all but those whose paths, with `/`, stay."""
        for name in names:
            for folder in self.folders:
                for file in (folder / f"{name}.png", folder / f"{name}.jpg"):
                    if file.relative_to(self.out).as_posix() not in keep:
                        file.unlink(missing_ok=True)


def each_result(
    inspector: Inspector,
    sources: Sequence[Source],
    class_name: str | None = None,
    *,
    tile: Tile = "auto",
    pictures: Pictures | None = None,
    base: Path = Path(),
) -> Iterator[Result]:
    """Inspect images and write their pictures; a result each, in order.

    Relative paths of the sources start from `base`.
    """
    inspector.check_class(class_name)

    def finish(item: tuple[Source, ScoredImage | ImageError]) -> Result:
        source, scored_image = item
        return result_of(source, inspector.finish(scored_image), class_name, pictures)

    paths = [base / source.path for source in sources]
    scored = inspector.score(paths, class_name, tile=tile)
    yield from prefetch(finish, zip(sources, scored, strict=True), inspector.workers)


def result_of(
    source: Source,
    found: Inspection | ImageError,
    class_name: str | None = None,
    pictures: Pictures | None = None,
) -> Result:
    """Write the pictures of an inspected image; its row, as docs/commands.md describes it."""
    if isinstance(found, ImageError):
        empty: Row = dict.fromkeys(("score", "threshold", "anomalous"))
        row = {"path": str(source.path), "class": class_name, **empty}
        return Result({**row, "outlines": [], "map": None, "error": found.reason})
    paths = (None, None, None) if pictures is None else pictures.write(source.name, found)
    row = {**found.to_dict(), "path": str(source.path), "map": paths[0], "error": None}
    return Result(row, found.score_map.shape, mask=paths[1], overlay=paths[2])
