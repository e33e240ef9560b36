"""What lies in a folder: images, sub-folders, own results, and what a search leaves out.

A folder of results holds a hidden file that names its pictures, one on a line, or `*` for all
that is in the folder and below it, so that no later run takes its results for data.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from omnial.data.image_file import SUFFIXES
from omnial.errors import UserError, shown

MARK: Final = ".omnial-pictures"
ALL: Final = "*"
"""Stands for every picture in a folder and below it."""
_SHOWN = 20
"""How many files an error names before it only counts."""
_NOT_READ: Final = re.compile(
    r"\.(?:avifs?|bw|dds|dib|fits?|gif|icns|ico|j2[ck]|jp2|jp[cfx]|p[bfgnp]m|pcx|psd|qoi|ras|rgba?|"
    r"sgi|tga|arw|cr[23]|dng|exr|hdr|hei[cf]|jxl|nef|npy|raw)"
)
"""Endings of pictures that are not read, in lower case."""

_logger = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; empty where there is no such folder.

    Hidden files, files with other endings and own results are passed over. Links are followed; a
    link that leads nowhere is listed, so that reading it names it.
    """
    own = own_names(folder)
    return [
        folder / entry.name
        for entry in (() if ALL in own else _entries(folder))
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES
        and entry.name not in own
        and not is_folder(entry)
    ]


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted by name, without hidden ones and those of results."""
    found = [folder / entry.name for entry in _entries(folder) if is_folder(entry)]
    return [path for path in found if not all_own(path)]


def find_roi(folder: Path) -> Path | None:
    """The region of interest of a class: the one image called `roi` in the class's folder."""
    found = [path for path in image_files(folder) if is_roi(path)]
    if len(found) > 1:
        raise UserError(f"{folder} holds several regions of interest; keep one:\n{listed(found)}")
    return found[0] if found else None


def is_roi(path: Path) -> bool:
    """Whether a file is named as a region of interest."""
    return path.stem.lower() == "roi"


def is_picture(path: Path) -> bool:
    """Whether a file has the ending of a picture, one that can be read or not."""
    suffix = path.suffix.lower()
    return (suffix in SUFFIXES or bool(_NOT_READ.fullmatch(suffix))) and not _is_hidden(path.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads to itself is a file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def listed(items: Sequence[object]) -> str:
    """The first 20 items, one on a line, and how many more there are."""
    lines = [f"  {shown(item)}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  ... and {len(items) - _SHOWN} more")
    return "\n".join(lines)


def mark_own(folder: Path, names: Iterable[str] = (ALL,)) -> None:
    """Note in a folder which pictures in it are results, in addition to what it notes already."""
    missing = frozenset(names) - own_names(folder)
    if missing:
        # Appended in one go: nothing is lost to a kill, or to another process that does the same.
        with (folder / MARK).open("a", encoding="utf-8") as file:
            file.write("".join(f"{name}\n" for name in sorted(missing)))


def own_names(folder: Path) -> frozenset[str]:
    """The names that a folder's mark holds; none without a mark that can be read."""
    mark = folder / MARK
    with suppress(OSError):
        if mark.is_file():
            return frozenset(mark.read_text("utf-8", errors="replace").splitlines())
    return frozenset()


def all_own(folder: Path) -> bool:
    """Whether every picture in a folder is a result."""
    return ALL in own_names(folder)


class LeftOut:
    """Count of the pictures that a search left out, to be reported at its end."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add_file(self, path: Path, *, own: bool = False, reason: str | None = None) -> None:
        """Note a file, one of the results or not, if it is a picture.

        The reason is why one with a right ending was not taken; None: it was.
        """
        suffix = path.suffix.lower()
        if not is_picture(path):
            return
        if suffix not in SUFFIXES:
            reason = f"{suffix} is not read; save them as PNG or TIFF"
        elif own:
            reason = "results that omnial wrote"
        if reason is not None:
            self._counts[os.fspath(path.parent), reason] += 1

    def add_own(self, folder: Path) -> None:
        """Note everything in a folder of results, and below it."""
        for _, _, files in os.walk(folder):
            for file in files:
                self.add_file(folder / file, own=True)

    def add_link(self, folder: Path) -> None:
        """Note a link to a folder, which was not followed."""
        self._counts[os.fspath(folder), "not followed; name the folder to have it read"] = 0

    def warn(self) -> None:
        """Log a warning of what was left out, if there is anything."""
        if self._counts:
            numbers = {0: "link", 1: "1 file in"}
            lines = [
                f"{numbers.get(count, f'{count} files in')} {folder}: {reason}"
                for (folder, reason), count in sorted(self._counts.items())
            ]
            _logger.warning("left out:\n%s", listed(lines))


def warn_of_left_out(roots: Sequence[Path], taken: Iterable[Path]) -> None:
    """Warn of pictures below data folders that were not taken, hidden ones aside."""
    files = set(map(os.path.abspath, taken))
    above: set[str] = set()
    for file in files:
        while (file := os.path.dirname(file)) not in above:
            above.add(file)
    left = LeftOut()
    for root in roots:
        _compare(root, files, above, left)
    left.warn()


def _compare(folder: Path, taken: set[str], above: set[str], left: LeftOut) -> None:
    own = own_names(folder)
    if ALL in own:
        left.add_own(folder)
        return
    place = os.path.abspath(folder)
    entries = []
    with suppress(UserError):  # no class has images there, or it would have failed before
        entries = _entries(folder)
    for entry in entries:
        path, full = folder / entry.name, os.path.join(place, entry.name)
        if full in taken:
            continue
        if not is_folder(entry):
            left.add_file(path, own=entry.name in own, reason="images are not looked for there")
        elif entry.is_symlink() and full not in above:
            # It may lead anywhere, also back to itself.
            left.add_link(path)
        else:
            _compare(path, taken, above, left)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))  # __MACOSX


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not _is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error}); check its permissions") from error
    return sorted(entries, key=lambda entry: os.path.normcase(entry.name))
