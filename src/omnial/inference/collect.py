"""Which files a prediction is about, and what their result files are called."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omnial.data.image_file import SUFFIXES
from omnial.errors import UserError


class Source(NamedTuple):
    """A file to be inspected."""

    path: Path
    """As the user would write it: under the folder as given."""
    name: str
    """Stem of its result files, different for every source."""


def collect(paths: Sequence[Path], leave_out: Sequence[Path] = ()) -> list[Source]:
    """Gather images from files and folders.

    A folder stands for the images in it and below it, in sorted order; hidden files and folders
    are passed over, links to folders are not followed. A file named outright is taken whatever
    its ending. A file that is named twice is taken once.

    A result's name is the file's stem and the start of a digest of its path as given: it is the
    same in every run, and equal stems from different folders do not meet.

    Args:
        paths: Files and folders.
        leave_out: Folders that are not searched: those that results are written to.

    Raises:
        UserError: A path does not exist, a folder cannot be read, or there is no image at all.
    """
    absent = [str(path) for path in paths if not os.path.lexists(path)]
    if absent:
        raise UserError(f"No such file or folder: {', '.join(absent)}. Check the spelling.")
    excluded = {os.path.abspath(folder) for folder in leave_out}
    files: dict[str, Path] = {}
    for path in paths:
        for file in sorted(_images(path, excluded)) if os.path.isdir(path) else [path]:
            files.setdefault(os.path.abspath(file), file)
    if not files:
        raise UserError(
            f"No images in {', '.join(map(str, paths))}: expected files ending in "
            f"{', '.join(sorted(SUFFIXES))}."
        )
    taken: set[str] = set()
    return [Source(file, _result_name(file, taken)) for file in files.values()]


def _images(folder: Path, excluded: set[str]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.abspath(Path(parent, name)) not in excluded
        ]
        for name in files:
            file = Path(parent, name)
            if not name.startswith(".") and file.suffix.lower() in SUFFIXES:
                yield file


def _refuse(error: OSError) -> None:
    raise UserError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error


def _result_name(path: Path, taken: set[str]) -> str:
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    # File names end at 255 bytes, and a character takes up to four.
    stem = path.stem[:50]
    lengths = range(8, len(digest) + 1)
    candidates = (f"{stem}-{digest[:length]}" for length in lengths)
    name = next(candidate for candidate in candidates if candidate.lower() not in taken)
    taken.add(name.lower())
    return name
