"""Mapping in threads a few items ahead of the reader, and what may be read ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T], depth: int
) -> Iterator[_R]:
    """Map in a pool's threads, in order, at most `depth` results ahead of the reader.

    What was not begun when the reader stops is given up.
    """
    pending: deque[Future[_R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def readable(items: Iterable[_T], size: int) -> Iterator[Iterable[_T]]:
    """What may be read before results are given: all of a sequence, `size` items of a stream."""
    if isinstance(items, Sequence):
        yield items
        return
    rest = iter(items)
    for first in rest:
        yield chain([first], islice(rest, size - 1))
