"""The history beside the event loop: every access to the file in one thread of its own."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from omnial.serving.history import Entry, History, Kept, Search
from omnial.serving.problems import RefusedError
from omnial.serving.replies import Review

_P = ParamSpec("_P")
_T = TypeVar("_T")
_PAGE = 500
_logger = logging.getLogger(__name__)


class Recorder:
    """A `History` for coroutines.

    Args:
        history: The file, which nobody else uses from now on.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    async def keep(self, entry: Entry) -> int | None:
        """Keep an inspection; its number, or None if it cannot be written.

        A full disk must not stop the line: the verdict is given all the same.
        """
        try:
            return await self._call(self._history.add, entry)
        except sqlite3.Error as error:
            _logger.error("an inspection could not be kept in the history: %s", error)
            return None

    async def search(self, search: Search, before: int | None, limit: int) -> list[Kept]:
        """See `History.search`."""
        return await self._read(self._history.search, search, before, limit)

    async def all(self, search: Search) -> AsyncIterator[Kept]:
        """Every inspection that matches, the latest first, a page in memory at a time."""
        before: int | None = None
        while page := await self._read(self._history.search, search, before, _PAGE):
            for kept in page:
                yield kept
            before = page[-1].id

    async def get(self, number: int) -> Kept:
        """One inspection; `RefusedError` 404 where there is none."""
        return _found(await self._read(self._history.get, number))

    async def picture(self, number: int) -> bytes:
        """Its picture; `RefusedError` 404 where there is none."""
        return _found(await self._read(self._history.picture, number))

    async def score_map(self, number: int) -> bytes:
        """Its score map; `RefusedError` 404 where there is none."""
        return _found(await self._read(self._history.score_map, number))

    async def review(self, number: int, review: Review | None) -> Kept:
        """Keep a person's word on a verdict.

        Raises:
            RefusedError: There is no such inspection, or the word does not fit its verdict.
        """
        kept = await self.get(number)
        unfit = "false_alarm" if not kept.anomalous else "missed"
        if review == unfit:
            verdict = "anomalous" if kept.anomalous else "good"
            raise RefusedError(409, "unfit", f"{review} cannot be said of a verdict of {verdict}.")
        return _found(await self._read(self._history.review, number, review))

    async def close(self) -> None:
        """Finish what was begun, and close the file."""
        await self._call(self._history.close)
        self._thread.shutdown()

    async def _call(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))

    async def _read(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await self._call(work, *args, **kwargs)
        except sqlite3.Error as error:
            _logger.error("the history cannot be used: %s", error)
            raise RefusedError(503, "no_history", "The history cannot be used now.") from error


def _found(value: _T | None) -> _T:
    if value is None:
        raise RefusedError(404, "not_found", "There is no such inspection; it may be too old.")
    return value
