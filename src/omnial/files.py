"""Files that appear whole or not at all, folders that one run at a time writes to, and digests.

A run may be killed anywhere. What it leaves half done has a name of its own, which no reader takes
for a result and which the next run into the same folder removes or writes over: `NAME.part` for a
file, `.omnial-scratch` for a folder.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias
from uuid import uuid4

from omnial.errors import RunError, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as users give it."""

PART: Final = ".part"
"""What is appended to the name of a file that is being written."""
SCRATCH: Final = ".omnial-scratch"
"""A folder for what is not finished, inside the folder that it is for."""

_REMEDIES: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room there"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM), "Make it writable, or name another folder"
    ),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "Name another folder"),
}
_RUST_ERROR: Final = re.compile(r"\(os error (\d+)\)")


def as_path(value: StrPath, name: str) -> Path:
    """A path that a user gave and calls `name`; a TypeError if it is none."""
    if isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str):
        return Path(value)
    raise TypeError(f"{name} is a path (str or os.PathLike), not {type(value).__name__}")


def as_paths(values: StrPath | Iterable[StrPath], name: str) -> list[Path]:
    """Paths that a user gave, or a single one; a TypeError if it is neither."""
    if isinstance(values, str | os.PathLike):
        return [as_path(values, name)]
    if isinstance(values, bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is a path or a list of paths, not {type(values).__name__}")
    return [as_path(value, f"each of {name}") for value in values]


@contextmanager
def replacing(path: Path, *, flush: bool = True, rivals: bool = False) -> Iterator[Path]:
    """Write a file as `NAME.part` in the same folder, and put it in place at the end.

    When the block ends well, the file is flushed to disk and replaces `path` in one step; when it
    fails, it is removed and `path` stays as it was.

    Args:
        path: The file.
        flush: Wait until the disk has it. Without, a killed process still leaves no half file,
            but a power cut may: for files that a run writes by the thousand.
        rivals: Another process may write the same file at the same time: the draft gets a hidden
            name that no other has, and the last one to end well stands.
    """
    name = f".{path.name}.{uuid4().hex}{PART}" if rivals else path.name + PART
    part = path.with_name(name)
    try:
        yield part
        if flush:
            _flush(part)
        os.replace(part, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # which a write that fails does not know
        with suppress(OSError):
            part.unlink()
        raise
    if flush:
        _flush(path.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a folder for one run alone, made if it is missing and rid of what killed runs left.

    The lock is on the folder itself and ends with the process, however that ends. Where the system
    or the file system has no such locks, there is none. A folder that was made here and stayed
    empty is removed at the end. A `UserError` says that another run writes to the folder, or that
    it can neither be made nor written to.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        handle = _lock(folder)
    except OSError as error:
        raise UserError(failure("Nothing could be written", folder, error)) from error
    try:
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)
        if made:
            with suppress(OSError):
                folder.rmdir()


def in_use(folder: Path) -> bool:
    """Whether a run has a folder for itself now, see `locked`."""
    try:
        handle = _lock(folder)
    except UserError:
        return True
    if handle is not None:
        os.close(handle)
    return False


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """A folder for unfinished files inside a folder that the caller has locked, gone at the end."""
    scratch = folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def replace_together(
    scratch: Path, folder: Path, names: Sequence[str], *, flush: bool = True
) -> None:
    """Put files in place together, after all of them are written and flushed to disk.

    A full disk, or a kill until then, leaves the earlier files as they were; a kill between two of
    the few steps from file to file leaves new files among old ones. Where readers must not take
    them for one result, the first name is that of the file with the digests of the others.

    The names are relative paths with forward slashes, in the order in which they are put in place;
    both folders lie on one file system; `flush` is as of `replacing`.
    """
    for name in names if flush else ():
        _flush(scratch / name)
    parents = dict.fromkeys((folder / name).parent for name in names)
    for parent in parents:
        parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.replace(scratch / name, folder / name)
    for parent in parents if flush else ():
        _flush(parent)


def unused(folder: Path, first: str) -> bool:
    """Whether a folder is missing, empty, or left by a run that was killed early.

    `first` is the relative path of the first file that such a run puts there, with forward slashes.
    """
    if not folder.exists():
        return True
    scratch = folder / SCRATCH
    allowed = {folder / (first + PART), scratch, *(folder / first).parents}
    return folder.is_dir() and all(
        path in allowed or scratch in path.parents for path in folder.rglob("*")
    )


@contextmanager
def writing(what: str, folder: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong with the disk into a `RunError` that names the file and the way out.

    `what` is being written, as the beginning of a sentence; `kinds` are what else, besides
    `OSError`, says that the disk failed.
    """
    failures: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except failures as error:
        raise RunError(failure(f"{what} could not be written", folder, error)) from error


def failure(what: str, where: Path, error: Exception) -> str:
    """Message about a failed disk: what, which file, why, and the way out."""
    number, reason, file = None, str(error), str(where)
    if isinstance(error, OSError):
        number, reason = error.errno, error.strerror or str(error)
        file = str(error.filename or where)
    elif found := _RUST_ERROR.search(reason):  # from a library that is written in Rust
        number = int(found[1])
    remedy = f" {_REMEDIES[number]}, and repeat." if number in _REMEDIES else ""
    return f"{what} to {file}: {reason}.{remedy}"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(folder: Path) -> int | None:
    """Lock a folder; None where that cannot be done here."""
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            f"{folder}: another run is writing there. Wait for its end, or name another folder."
        ) from error
    except OSError:
        # Some network file systems.
        os.close(handle)
        return None
    return handle


def _flush(path: Path) -> None:
    is_folder = path.is_dir()
    if is_folder and os.name != "posix":
        return
    # Windows flushes only what is open for writing; a folder opens only for reading.
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
