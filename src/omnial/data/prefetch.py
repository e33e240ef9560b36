"""Mapping in threads, a bounded number of results ahead of the reader."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetch(
    work: Callable[[T], R], items: Iterable[T], threads: int, depth: int | None = None
) -> Iterator[R]:
    """Map in threads of its own, in order; items are taken in the reader's thread.

    What was not begun when the reader stops is given up. An error is raised in its turn. `depth` is
    the most results ahead of the reader; None is one for each thread.
    """
    depth = threads if depth is None else depth
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
