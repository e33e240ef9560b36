"""Data folders of a study: where they are on this machine, and their names on every machine."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from omnial.data.layouts import discover
from omnial.data.records import Catalogue
from omnial.errors import UserError
from omnial.files import file_digest
from omnial.studies.study_rows import StudyOptions

DATA_VARIABLE: Final = "OMNIAL_DATA"
"""Environment variable: the folder that data roots are named relative to."""


class StudyData(NamedTuple):
    """Data folders, their classes and images, and a digest of each class."""

    roots: tuple[Path, ...]
    catalogue: Catalogue
    digests: Mapping[str, str]

    @classmethod
    def of(cls, roots: Sequence[Path]) -> "StudyData":
        """The data in these folders."""
        catalogue = discover(roots, need="test")
        return cls(tuple(roots), catalogue, class_digests(catalogue))


def find_roots(given: Sequence[Path]) -> list[Path]:
    """Find each data folder here, or else below `$OMNIAL_DATA`; a UserError names one that is not.

    Nothing of it needs PyTorch, so that a mistake is told before that is imported.
    """
    base, found = os.environ.get(DATA_VARIABLE), []
    for root in given:
        candidates = [root] if base is None else [root, Path(base) / root]
        folder = next((folder for folder in candidates if os.path.isdir(folder)), None)
        if folder is None:
            what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
            where = "" if base is None else f" here or below ${DATA_VARIABLE} ({base})"
            raise UserError(f"the data folder {root} {what}{where}; check --data")
        found.append(folder)
    return found


def name_of(root: Path) -> str:
    """Name of a root in results: its path below `$OMNIAL_DATA`, else the folder's own name."""
    resolved, base = root.resolve(), os.environ.get(DATA_VARIABLE)
    if base is not None and resolved.is_relative_to(Path(base).resolve()):
        return resolved.relative_to(Path(base).resolve()).as_posix()
    return resolved.name


def command_line(study: str, data: StudyData, options: StudyOptions, *own: str) -> str:
    """The command that repeats a study on any machine; `own` are the study's own options."""
    return " ".join(
        [
            f"omnial study {study}",
            *(f"--data {name_of(root)}" for root in data.roots),
            f"--size {options.size}",
            *own,
            *(f"--set '{text}'" for text in options.overrides),
        ]
    )


def class_digests(catalogue: Catalogue) -> dict[str, str]:
    """Digest the content of each class: training images, test images, masks, region of interest.

    The digest does not depend on where the files lie.
    """
    digests = {}
    for product in catalogue.classes:
        total = hashlib.sha256(_digest(product.roi).encode())
        for record in product.images:
            names = (record.split, record.kind, record.path.name)
            facts = (*names, _digest(record.path), _digest(record.mask))
            total.update("\0".join(facts).encode("utf-8", "surrogateescape"))
        digests[product.name] = total.hexdigest()
    return digests


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return file_digest(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
