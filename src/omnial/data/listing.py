"""What lies in a folder: images and sub-folders, without the clutter that systems leave there."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from omnial.data.image_file import SUFFIXES
from omnial.errors import UserError, shown

_ROI_STEM = "roi"
_SHOWN = 20
"""How many files an error names before it only counts."""


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; empty where there is no such folder.

    Hidden files and files with other endings are passed over. Links are followed; a link that
    leads nowhere is listed, so that reading it names it.
    """
    return [
        path
        for path in _entries(folder)
        if path.suffix.lower() in SUFFIXES and not path.is_dir() and not _is_hidden(path)
    ]


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted by name, without hidden ones."""
    return [path for path in _entries(folder) if path.is_dir() and not _is_hidden(path)]


def find_roi(folder: Path) -> Path | None:
    """The region of interest of a class: an image called `roi` in the class's folder.

    Raises:
        UserError: there are several.
    """
    found = [path for path in image_files(folder) if is_roi(path)]
    if len(found) > 1:
        raise UserError(f"{folder} holds several regions of interest; keep one:\n{listed(found)}")
    return found[0] if found else None


def is_roi(path: Path) -> bool:
    """True for a file named as a region of interest."""
    return path.stem.lower() == _ROI_STEM


def listed(items: Sequence[object]) -> str:
    """The first 20 items, one on a line, and how many more there are."""
    lines = [f"  {shown(item)}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  ... and {len(items) - _SHOWN} more")
    return "\n".join(lines)


def _entries(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error}); check its permissions") from error


def _is_hidden(path: Path) -> bool:
    # "__MACOSX" is what macOS adds to archives.
    return path.name.startswith((".", "__"))
