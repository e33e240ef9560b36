"""Marks of pictures that this package wrote, so that no later run takes its results for data.

A folder of results holds a hidden file that names its pictures, one on a line, or `*` for all
that is in the folder and below it.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

MARK: Final = ".omnial-pictures"
ALL: Final = "*"
"""Stands for every picture in a folder and below it."""


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
