"""What lies in a folder: images and sub-folders, without the clutter that systems leave there."""

import os
from collections.abc import Sequence
from pathlib import Path

from omnial.data.image_file import SUFFIXES
from omnial.data.own_pictures import ALL, all_own, own_names
from omnial.errors import UserError, shown

_ROI_STEM = "roi"
_SHOWN = 20
"""How many files an error names before it only counts."""


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; empty where there is no such folder.

    Hidden files, files with other endings and results (`omnial.data.own_pictures`) are passed
    over. Links are followed; a link that leads nowhere is listed, so that reading it names it.
    """
    own = own_names(folder)
    if ALL in own:
        return []
    return [
        folder / entry.name
        for entry in _entries(folder)
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
    return path.stem.lower() == _ROI_STEM


def listed(items: Sequence[object]) -> str:
    """The first 20 items, one on a line, and how many more there are."""
    lines = [f"  {shown(item)}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  ... and {len(items) - _SHOWN} more")
    return "\n".join(lines)


def is_hidden(name: str) -> bool:
    """Whether a name is one that file managers and archives add on their own."""
    return name.startswith((".", "__"))  # __MACOSX


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads to itself is a file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error}); check its permissions") from error
    return sorted(entries, key=lambda entry: os.path.normcase(entry.name))
