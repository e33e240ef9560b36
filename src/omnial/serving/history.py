"""The history of inspections: one SQLite file, bounded by age and size, and access to it.

The file is in WAL mode: a crash of the process loses nothing that was written.
"""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Concatenate, Literal, ParamSpec, TypeVar

from pydantic import Field

from omnial.serving.findings import Finding
from omnial.serving.history_file import open_history
from omnial.serving.replies import HistoryItem, RefusedError, Reply, Review, Verdict
from omnial.serving.service_settings import MEGABYTE

LARGEST_NUMBER = 2**62
_PURGE_EVERY = 64
_SHARE_KEPT = 0.9
"""What is left of a history that has grown too large, so that not every image deletes others."""
_COLUMNS = ", ".join(field.alias or name for name, field in HistoryItem.model_fields.items())
_LISTS = ("outlines", "suspects")
"""Columns of JSON texts."""
_P = ParamSpec("_P")
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


class Search(Reply):
    """What to look for; None does not narrow."""

    text: Annotated[str | None, Field(max_length=200)] = None
    """Part of the name, or the start of the digest."""
    class_name: Annotated[str | None, Field(alias="class", max_length=500)] = None
    """A product; empty: unknown products."""
    verdict: Verdict | None = None
    review: Review | None = None
    """What a person said."""
    reviewed: bool | None = None
    """Whether a person said anything."""
    since: datetime | None = None
    """Not before; UTC if no zone."""
    until: datetime | None = None
    """Before; UTC if no zone."""

    def where(self) -> tuple[str, list[object]]:
        """An SQL condition and its values; no value becomes SQL."""
        found: list[tuple[str, object]] = [
            ("(instr(lower(name), lower(?1)) OR instr(sha256, lower(?1)) = 1)", self.text or None),
            ("class IS nullif(?, '')", self.class_name),
            ("anomalous = ?", self.verdict and self.verdict == "anomalous"),
            ("review = ?", self.review),
            ("time >= ?", _seconds(self.since)),
            ("time < ?", _seconds(self.until)),
        ]
        parts = [condition for condition, value in found if value is not None]
        if self.reviewed is not None:
            parts.append("review IS NOT NULL" if self.reviewed else "review IS NULL")
        values = [value for _, value in found if value is not None]
        return " AND ".join(parts) or "1", values


class SearchPage(Search):
    """A page of what was found."""

    before: Annotated[int | None, Field(ge=1, le=LARGEST_NUMBER)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class History:
    """Inspections on disk, in a file that is readable for its owner alone, used by one thread.

    Those of more than `days` are forgotten, and the oldest where the file holds more than
    `megabytes`. `clock` gives seconds since 1970. A UserError says that the file cannot be written
    or is not a history of this program.
    """

    def __init__(
        self, path: Path, *, days: float, megabytes: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._seconds = days * 86400
        self._bytes = megabytes * MEGABYTE
        self._clock = clock
        self._db = open_history(path)
        self._purge()

    def close(self) -> None:
        """Put everything into the one file, and close it."""
        self._db.close()

    def add(self, finding: Finding, model: str) -> int:
        """Keep what a model found; returns its number."""
        row = finding.reply.model_dump(mode="json", by_alias=True, exclude={"id"})
        row |= {name: json.dumps(row[name]) for name in _LISTS if row[name] is not None}
        row |= {"time": self._clock(), "model": model}
        row |= {"map": finding.map_png, "picture": finding.picture_jpeg, "file": finding.file}
        names, values = ", ".join(row), ", ".join("?" * len(row))
        with self._db:
            cursor = self._db.execute(
                f"INSERT INTO inspections ({names}) VALUES ({values})", list(row.values())
            )
        number = cursor.lastrowid or 0
        if number % _PURGE_EVERY == 0:
            self._purge()
        return number

    def search(self, search: Search, before: int | None, limit: int) -> list[HistoryItem]:
        """The latest inspections that match, those with a smaller number than `before`."""
        where, values = search.where()
        if before is not None:
            where, values = f"{where} AND id < ?", [*values, before]
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM inspections WHERE {where} ORDER BY id DESC LIMIT ?",
            [*values, limit],
        )
        return [_item(row) for row in rows]

    def get(self, number: int) -> HistoryItem | None:
        """One inspection."""
        query = f"SELECT {_COLUMNS} FROM inspections WHERE id = ?"
        row = self._db.execute(query, (number,)).fetchone()
        return None if row is None else _item(row)

    def file(self, number: int, kind: Literal["picture", "map"]) -> bytes | None:
        """The small picture of an inspection, a JPEG file, or its score map, a PNG file."""
        row = self._db.execute(f"SELECT {kind} FROM inspections WHERE id = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def review(self, number: int, review: Review | None) -> HistoryItem | None:
        """Keep a person's review of a verdict, or take it back; None: there is no such number."""
        when = None if review is None else self._clock()
        change = "UPDATE inspections SET review = ?, reviewed = ? WHERE id = ?"
        with self._db:
            self._db.execute(change, (review, when, number))
        return self.get(number)

    def _purge(self) -> None:
        """Forget what is too old or too much."""
        oldest = self._clock() - self._seconds
        with self._db:
            self._db.execute("DELETE FROM inspections WHERE time < ?", (oldest,))
        limit = self._bytes
        while self._size() > limit:
            limit = _SHARE_KEPT * self._bytes
            with self._db:
                gone = self._db.execute(
                    "DELETE FROM inspections WHERE id IN (SELECT id FROM inspections ORDER BY id "
                    "LIMIT 1 + (SELECT count(*) FROM inspections) / 20)"
                ).rowcount
            if gone == 0:
                break
        # `execute` would give one page back.
        self._db.executescript("PRAGMA incremental_vacuum")

    def _size(self) -> int:
        """Bytes in use in the file."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (self._db.execute(f"PRAGMA {n}").fetchone()[0] for n in names)
        return int((pages - free) * size)


def _item(row: sqlite3.Row) -> HistoryItem:
    lists = {name: row[name] and json.loads(row[name]) for name in _LISTS}
    times = {name: row[name] and _utc(row[name]) for name in ("time", "reviewed")}
    return HistoryItem.model_validate({**row, **lists, **times})


def _seconds(when: datetime | None) -> float | None:
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _utc(seconds: float) -> str:
    """A time as ISO 8601, to the millisecond."""
    stamp = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


class Recorder:
    """A `History` for coroutines, its only user: every access in one thread of its own."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    async def call(
        self, method: Callable[Concatenate[History, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Call a method of the history; a RefusedError (503) if the file cannot be used."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._thread, lambda: method(self._history, *args, **kwargs)
            )
        except sqlite3.Error as error:
            _logger.error("the history cannot be used: %s", error)
            raise RefusedError(503, "no_history", "The history cannot be used now.") from error

    async def close(self) -> None:
        """Finish what was begun, and close the file."""
        await self.call(History.close)
        self._thread.shutdown()
