"""Which files a prediction is about, and what their result files are called."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from omnial.data.image_file import SUFFIXES
from omnial.data.listing import ALL, LeftOut, is_folder, own_names
from omnial.errors import UserError, without_password


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

    A name is the file's stem and the start of a digest of its path as given: the same in every
    run, and different for equal stems from different folders.
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


def check_inputs(paths: Sequence[Path]) -> None:
    """Refuse paths that do not exist with a `UserError`."""
    absent = [str(path) for path in paths if not os.path.lexists(path)]
    if absent:
        advice = "Check the spelling."
        if any(":/" in path for path in absent):
            advice = "Cameras and streams are for omnial watch."
        names = ", ".join(map(without_password, absent))
        raise UserError(f"No such file or folder: {names}. {advice}")


def each_image(
    paths: Sequence[Path], *, unlisted: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """List images one by one, however many there are: a folder at a time is held in memory.

    A folder stands for the images in it and below it, in sorted order; hidden files and folders
    are passed over, links to folders are not followed, and results (`omnial.data.listing`)
    are no images to inspect. A file named outright is taken whatever it is. A file that is named
    twice is listed once, where it came first. A warning at the end says what was left out, a
    UserError that a path does not exist or a folder cannot be read. `unlisted` takes instead the
    folders below the paths that cannot be read, and then nothing warns.
    """
    check_inputs(paths)
    left, met, named = LeftOut(), set[str](), set(map(os.path.abspath, paths))

    def is_new(path: Path) -> bool:
        """Whether a file or folder comes for the first time; what is not named comes once."""
        full = os.path.abspath(path)
        if full in met:
            return False
        met.update({full} & named)
        return True

    for path in paths:
        if os.path.isdir(path):
            yield from _images(path, is_new, left, unlisted)
        elif is_new(path):
            yield path
    if unlisted is None:
        left.warn()


def no_images(paths: Sequence[Path]) -> UserError:
    """The error for paths that no image was found in."""
    return UserError(
        f"No images in {', '.join(map(str, paths))}: expected files ending in "
        f"{', '.join(sorted(SUFFIXES))}."
    )


def _images(
    folder: Path,
    is_new: Callable[[Path], bool],
    left: LeftOut,
    unlisted: Callable[[Path], None] | None,
    below: bool = False,
) -> Iterator[Path]:
    if not is_new(folder):
        return
    own = own_names(folder)
    if ALL in own:
        left.add_own(folder)
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: os.path.normcase(entry.name))
    except OSError as error:
        if below and unlisted is not None:
            unlisted(folder)
            return
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if is_folder(entry):
            if entry.is_symlink():
                left.add_link(path)
            else:
                yield from _images(path, is_new, left, unlisted, below=True)
        elif path.suffix.lower() not in SUFFIXES or entry.name in own:
            left.add_file(path, own=entry.name in own)
        elif is_new(path):
            yield path
