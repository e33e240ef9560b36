"""Marks of pictures that this package wrote, so that no later run takes its results for data.

A folder of results holds a hidden file that names its pictures, one on a line, or `*` for all
that is in the folder and below it.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from omnial.files import replacing

MARK: Final = ".omnial-pictures"
ALL: Final = "*"
"""Stands for every picture in a folder and below it."""


def mark_own(folder: Path, names: Iterable[str] = (ALL,)) -> None:
    """Note in a folder which pictures in it are results, in addition to what it notes already."""
    there, wanted = own_names(folder), frozenset(names)
    if not wanted <= there:
        with replacing(folder / MARK, flush=False, rivals=True) as part:
            part.write_text("".join(f"{name}\n" for name in sorted(there | wanted)), "utf-8")


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
