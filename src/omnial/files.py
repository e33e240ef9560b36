"""Files that appear whole or not at all, and their digests."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under another name in the same folder, and put it in place at the end.

    Yields the name to write to, `path` with `.part` appended. When the block ends well, the
    file is flushed to disk and replaces `path` in one step; when it fails, it is removed and
    `path` stays as it was.

    Raises:
        OSError: The folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        _flush(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _flush(path.parent)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    # Windows flushes only what is open for writing; a folder opens only for reading.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
