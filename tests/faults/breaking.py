"""Ways to break what is written: a process killed between two changes, and a full disk."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

_CHANGES = ("replace", "rename", "unlink", "mkdir", "rmdir")
_MOST = 200


class Killed(BaseException):
    """Stands for the end of the process: no handler of `Exception` sees it."""


@contextmanager
def dying(at: int) -> Iterator[None]:
    """Within the block, the process is as good as killed before its n-th change to a folder.

    From then on no change happens at all: a killed process does not clean up either.
    """
    changes = itertools.count()

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **options: object) -> object:
            if next(changes) >= at:
                raise Killed
            return real(*arguments, **options)

        return change

    fakes = {name: counted(getattr(os, name)) for name in _CHANGES}
    with mock.patch.multiple("os", **fakes):
        yield


def killed_everywhere(
    work: Callable[[], object], after: Callable[[], object] = lambda: None
) -> int:
    """Do the work, killed before its first change, then its second, until it gets through.

    Every run goes on from what the one before left; `after` looks at it. Returns how often it was
    killed.
    """
    for at in range(_MOST):
        try:
            with dying(at):
                work()
        except Killed:
            after()
        else:
            return at
    raise AssertionError("the work never got through")


@contextmanager
def full_disk(ending: str, after: int = 0) -> Iterator[None]:
    """Within the block, the disk is full when a file whose name ends so is flushed to it.

    The first so many times, it is not.
    """
    flush, times = os.fsync, itertools.count()

    def failing(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if path.endswith(ending) and next(times) >= after:
            raise no_space(path)
        flush(handle)

    with mock.patch("os.fsync", failing):
        yield


def no_space(path: str) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def files(folder: Path) -> dict[str, bytes]:
    """The content of every file, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
