"""Which files a prediction is about, and what their result files are called."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
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
    """Gather images from files and folders, as `each_image` lists them, and name their results.

    Args:
        paths: Files and folders.
        leave_out: Folders that are not searched: those that results are written to.

    Raises:
        UserError: A path does not exist, a folder cannot be read, or there is no image at all.
    """
    files = list(each_image(paths, leave_out))
    if not files:
        raise no_images(paths)
    return name_results(files)


def name_results(files: Iterable[Path]) -> list[Source]:
    """Name the results of files that are different from each other.

    A result's name is the file's stem and the start of a digest of its path as given: it is the
    same in every run, and equal stems from different folders do not meet.
    """
    taken: set[str] = set()
    return [Source(file, _result_name(file, taken)) for file in files]


def each_image(paths: Sequence[Path], leave_out: Sequence[Path] = ()) -> Iterator[Path]:
    """List images one by one, however many there are: a folder at a time is held in memory.

    A folder stands for the images in it and below it, in sorted order; hidden files and folders
    are passed over, links to folders are not followed. A file named outright is taken whatever
    its ending. A file that is named twice is listed once, where it came first.

    Args:
        paths: Files and folders.
        leave_out: Folders that are not searched.

    Raises:
        UserError: A path does not exist, or a folder cannot be read.
    """
    absent = [str(path) for path in paths if not os.path.lexists(path)]
    if absent:
        raise UserError(f"No such file or folder: {', '.join(absent)}. Check the spelling.")
    excluded = {os.path.abspath(folder) for folder in leave_out}
    folders: list[str] = []
    files: set[str] = set()
    for path in paths:
        place = os.path.abspath(path)
        is_folder = os.path.isdir(path)
        for file in _images(path, excluded) if is_folder else [path]:
            full = os.path.abspath(file)
            if full not in files and not any(_lists(one, full, excluded) for one in folders):
                yield file
        if is_folder:
            folders.append(place)
        else:
            files.add(place)


def no_images(paths: Sequence[Path]) -> UserError:
    """The error for paths that no image was found in."""
    return UserError(
        f"No images in {', '.join(map(str, paths))}: expected files ending in "
        f"{', '.join(sorted(SUFFIXES))}."
    )


def _images(folder: Path, excluded: set[str]) -> Iterator[Path]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: os.path.normcase(entry.name))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if not _is_folder(entry):
            if path.suffix.lower() in SUFFIXES:
                yield path
        elif not entry.is_symlink() and os.path.abspath(path) not in excluded:
            yield from _images(path, excluded)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself is a file that cannot be read.
        return False


def _lists(folder: str, file: str, excluded: set[str]) -> bool:
    """Whether `_images` of a folder comes upon a file, both being absolute."""
    path = Path(file)
    if not path.is_relative_to(folder) or path.suffix.lower() not in SUFFIXES:
        return False
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    between = [parent for parent in path.parents if parent != Path(folder)]
    between = [parent for parent in between if parent.is_relative_to(folder)]
    return not any(str(parent) in excluded or parent.is_symlink() for parent in between)


def _result_name(path: Path, taken: set[str]) -> str:
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    # File names end at 255 bytes, and a character takes up to four.
    stem = path.stem[:50]
    lengths = range(8, len(digest) + 1)
    candidates = (f"{stem}-{digest[:length]}" for length in lengths)
    name = next(candidate for candidate in candidates if candidate.lower() not in taken)
    taken.add(name.lower())
    return name
