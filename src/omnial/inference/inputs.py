"""Which files a prediction is about, and what their result files are called."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omnial.data.image_file import SUFFIXES
from omnial.data.listing import ALL, LeftOut, all_own, is_folder, own_names
from omnial.errors import UserError


class Source(NamedTuple):
    """A file to be inspected."""

    path: Path
    """As the user would write it: under the folder as given."""
    name: str
    """Stem of its result files, different for every source."""


def list_inputs(paths: Sequence[Path]) -> list[Source]:
    """Images of files and folders, as `each_image` finds them, with the names of their results."""
    files = list(each_image(paths))
    if not files:
        raise no_images(paths)
    return name_results(files)


def name_results(files: Iterable[Path]) -> list[Source]:
    """Name the results of files that are different from each other.

    A result's name is the file's stem and the start of a digest of its path as given: it is the
    same in every run, and equal stems from different folders do not meet.
    """
    taken: set[str] = set()
    sources = []
    for file in files:
        digest = hashlib.sha256(os.fsencode(file)).hexdigest()
        # File names end at 255 bytes, and a character takes up to four.
        names = (f"{file.stem[:50]}-{digest[:length]}" for length in range(8, len(digest) + 1))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        sources.append(Source(file, name))
    return sources


def each_image(paths: Sequence[Path]) -> Iterator[Path]:
    """List images one by one, however many there are: a folder at a time is held in memory.

    A folder stands for the images in it and below it, in sorted order; hidden files and folders
    are passed over, links to folders are not followed, and results (`omnial.data.listing`)
    are no images to inspect. A file named outright is taken whatever it is. A file that is named
    twice is listed once, where it came first. A warning at the end says what was left out.

    Raises:
        UserError: A path does not exist, or a folder cannot be read.
    """
    absent = [str(path) for path in paths if not os.path.lexists(path)]
    if absent:
        raise UserError(f"No such file or folder: {', '.join(absent)}. Check the spelling.")
    left = LeftOut()
    folders: list[str] = []
    files: set[str] = set()
    for path in paths:
        is_folder_named = os.path.isdir(path)
        for file in _images(path, left) if is_folder_named else [path]:
            full = os.path.abspath(file)
            if full not in files and not any(_lists(one, full) for one in folders):
                yield file
        if is_folder_named:
            folders.append(os.path.abspath(path))
        else:
            files.add(os.path.abspath(path))
    left.warn()


def no_images(paths: Sequence[Path]) -> UserError:
    """The error for paths that no image was found in."""
    return UserError(
        f"No images in {', '.join(map(str, paths))}: expected files ending in "
        f"{', '.join(sorted(SUFFIXES))}."
    )


def _images(folder: Path, left: LeftOut) -> Iterator[Path]:
    own = own_names(folder)
    if ALL in own:
        left.add_own(folder)
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: os.path.normcase(entry.name))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if is_folder(entry):
            if entry.is_symlink():
                left.add_link(path)
            else:
                yield from _images(path, left)
        elif path.suffix.lower() in SUFFIXES and entry.name not in own:
            yield path
        else:
            left.add_file(path, own=entry.name in own)


def _lists(folder: str, file: str) -> bool:
    """Whether `_images` of a folder comes upon a file, both being absolute."""
    path = Path(file)
    if not path.is_relative_to(folder) or path.suffix.lower() not in SUFFIXES:
        return False
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    between = [parent for parent in path.parents if parent.is_relative_to(folder)]
    if any(map(all_own, between)) or path.name in own_names(path.parent):
        return False
    return not any(parent.is_symlink() for parent in between if parent != Path(folder))
