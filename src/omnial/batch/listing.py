"""The archive's listing, written once: which images there are, and where each part begins.

`listing/paths.jsonl` has a line a part, the list of its paths; `listing/index.json` says where
the lines begin, so that a worker reads its own part and no other. An archive that grows later
does not shift the parts of a job that has begun.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from omnial.errors import RunError
from omnial.files import replacing
from omnial.inference.collect import each_image, no_images

FOLDER: Final = "listing"
_PATHS, _INDEX = "paths.jsonl", "index.json"


class Part(NamedTuple):
    """A part of the archive."""

    number: int
    """From 0, in the order of the images."""
    offset: int
    """Where its line begins in `paths.jsonl`, in bytes."""


class Listing(BaseModel):
    """The content of `index.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    offsets: tuple[int, ...]
    """Of every part, in order."""

    @property
    def parts(self) -> list[Part]:
        """All parts."""
        return [Part(number, offset) for number, offset in enumerate(self.offsets)]


def write_listing(
    out: Path,
    paths: Sequence[Path],
    part_images: int,
    *,
    on_part: Callable[[int], None] | None = None,
) -> Listing:
    """List the images of a new job.

    Args:
        out: The folder of the results, which is made.
        paths: Files and folders, see `each_image`.
        part_images: Images of every part but the last.
        on_part: Called with the number of images found so far.

    Raises:
        UserError: As `each_image`, or there is no image at all; nothing has been written then,
            unless a folder that cannot be read was met late.
        OSError: It cannot be written.
    """
    found = each_image(paths)
    part = _take(found, part_images)
    if not part:
        raise no_images(paths)
    images, offsets = 0, list[int]()
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    with replacing(out / FOLDER / _PATHS) as draft, draft.open("wb") as file:
        while part:
            offsets.append(file.tell())
            # In ASCII: names that are not UTF-8 keep their bytes as escapes.
            file.write(json.dumps(part).encode("ascii") + b"\n")
            images += len(part)
            if on_part is not None:
                on_part(images)
            part = _take(found, part_images)
    listing = Listing(images=images, offsets=tuple(offsets))
    with replacing(out / FOLDER / _INDEX) as draft:
        draft.write_text(listing.model_dump_json() + "\n", encoding="utf-8")
    return listing


def read_listing(out: Path) -> Listing:
    """The listing of a job that was begun.

    Raises:
        RunError: It is damaged.
    """
    path = out / FOLDER / _INDEX
    try:
        return Listing.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunError(
            f"{path} cannot be read ({error}). Name another folder for the results."
        ) from error


def read_part(out: Path, part: Part) -> list[Path]:
    """The paths of a part, as the user would write them.

    Raises:
        RunError: The listing cannot be read, or is not the one that the part is of.
    """
    path = out / FOLDER / _PATHS
    try:
        with path.open("rb") as file:
            file.seek(part.offset)
            names = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise RunError(f"Part {part.number} cannot be read from {path}: {error}") from error
    return [Path(name) for name in names]


def _take(found: Iterator[Path], count: int) -> list[str]:
    return [str(path) for path in islice(found, count)]
