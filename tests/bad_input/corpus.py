"""All hostile files, and how to put them into a folder."""

import os
from pathlib import Path

from tests.bad_input.names import NAMES
from tests.bad_input.outcomes import Case
from tests.bad_input.pictures import PICTURES

CASES: tuple[Case, ...] = tuple(case for case in (*PICTURES, *NAMES) if case.possible())


def write_corpus(folder: Path) -> None:
    """Write every hostile file into a folder, below its own name."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        case.write(folder / case.name)


def content_of(path: Path) -> bytes | None:
    """What can be sent of a file; None where it is no ordinary one."""
    return path.read_bytes() if path.is_file() and os.access(path, os.R_OK) else None
