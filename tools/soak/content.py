"""What of a result must be the same: every byte but times, the commit and the machine."""

import hashlib
import json
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from omnial.files import PART, SCRATCH

_TIMES: Final = {
    *("finished", "seconds", "images_per_second", "created", "milliseconds"),
    *("training_seconds", "machine"),
}
_PAGE_COMMIT: Final = re.compile(r"Commits .*? Machines:")
"""A checkout may be worked on while the soak runs."""
_PAGE_TIME: Final = re.compile(r"(<dt>Evaluation time</dt>)<dd>[^<]*</dd>")


def content(path: Path) -> str:
    """Digest of a file, without what differs from run to run.

    Raises:
        ValueError: It is not whole: no JSON, for example.
    """
    if path.suffix == ".json":
        values = json.loads(path.read_text("utf-8"))
        if path.name == "manifest.json":
            # The second is a digest over the first, among others.
            del values["made"], values["sha256"]
        text = json.dumps(_without_times(values), sort_keys=True)
    elif path.suffix == ".html":
        text = _PAGE_TIME.sub(r"\1", path.read_text("utf-8"))
        if not text.rstrip().endswith("</html>"):
            raise ValueError("the page breaks off")
    elif path.suffix == ".md":
        text = _PAGE_COMMIT.sub("", path.read_text("utf-8"))
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(text.encode()).hexdigest()


def contents(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """Digests of the files that patterns find in a folder, by relative path."""
    found = {}
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and not path.name.endswith(PART):
                try:
                    found[path.relative_to(folder).as_posix()] = content(path)
                except (ValueError, KeyError, OSError) as error:
                    found[path.relative_to(folder).as_posix()] = f"not whole: {error}"
    return found


def left_over(folder: Path) -> list[str]:
    """Scratch that is still there; the cache removes its own later."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if (path.name.endswith(PART) and ".npy." not in path.name) or path.name == SCRATCH
    ]


def cached(folder: Path) -> dict[str, str]:
    """Digests of all that a cache holds, by name; damage stands in the place of a digest."""
    entries = {}
    for path in sorted(folder.rglob("*.npy")):
        try:
            pixels = np.load(path, allow_pickle=False)
            whole = path.stem.endswith(f"{zlib.crc32(pixels.data):08x}")
            entries[path.stem] = content(path) if whole else "not whole"
        except (ValueError, EOFError) as error:
            entries[path.stem] = f"not whole: {error}"
    return entries


def _without_times(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _without_times(v) for name, v in values.items() if name not in _TIMES}
    return [_without_times(v) for v in values] if isinstance(values, list) else values
