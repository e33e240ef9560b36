"""A warning of pictures that were found and not taken: how many, where, and why."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from omnial.data.image_file import SUFFIXES
from omnial.data.listing import is_folder, is_hidden, listed
from omnial.data.own_pictures import ALL, own_names

_NOT_READ: Final = re.compile(
    r"\.(?:avifs?|bw|dds|dib|fits?|gif|icns|ico|j2[ck]|jp2|jp[cfx]|p[bfgnp]m|pcx|psd|qoi|ras|rgba?|"
    r"sgi|tga|arw|cr[23]|dng|exr|hdr|hei[cf]|jxl|nef|npy|raw)"
)
"""Endings of pictures that are not read, in lower case."""

_logger = logging.getLogger(__name__)


def is_picture(path: Path) -> bool:
    """Whether a file has the ending of a picture, one that can be read or not."""
    suffix = path.suffix.lower()
    return (suffix in SUFFIXES or bool(_NOT_READ.fullmatch(suffix))) and not is_hidden(path.name)


class LeftOut:
    """Count of what a search left out, to be reported at its end."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add_file(self, path: Path, *, own: bool = False, reason: str | None = None) -> None:
        """Note a file; one that is no picture by its ending counts for nothing.

        Args:
            path: The file.
            own: It is a result.
            reason: Why one with a right ending was not taken; None: it was.
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
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not is_hidden(entry.name)]
    except OSError:
        # No class has images there, or it would have failed before.
        return
    for entry in entries:
        full = os.path.join(place, entry.name)
        if full in taken:
            continue
        path = folder / entry.name
        if not is_folder(entry):
            left.add_file(path, own=entry.name in own, reason="images are not looked for there")
        elif entry.is_symlink() and full not in above:
            # It may lead anywhere, also back to itself.
            left.add_link(path)
        else:
            _compare(path, taken, above, left)
