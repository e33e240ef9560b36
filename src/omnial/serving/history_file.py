"""The SQLite file of a history: its tables, opening it, and the reviews in it.

Needs nothing of what serves: reviews are also read where the service is not installed.
"""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from omnial.errors import UserError
from omnial.serving.service_settings import MEGABYTE

_APPLICATION: Final = 0x6F6D6E69
"""`omni`, in the file's header: another program's file is not touched."""
_VERSION: Final = 2
_SCHEMA: Final = f"""
BEGIN;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE inspections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    name TEXT,
    sha256 TEXT NOT NULL,
    class TEXT,
    score REAL NOT NULL,
    threshold REAL NOT NULL,
    anomalous INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    outlines TEXT NOT NULL,
    suspects TEXT,
    model TEXT NOT NULL,
    map BLOB NOT NULL,
    picture BLOB,
    review TEXT CHECK (review IN ('right', 'false_alarm', 'missed')),
    reviewed REAL,
    file BLOB
);
CREATE INDEX by_time ON inspections (time);
CREATE INDEX by_class ON inspections (class, id);
CREATE INDEX by_review ON inspections (review, id) WHERE review IS NOT NULL;
COMMIT;
"""


class Reviewed(NamedTuple):
    """An inspection whose verdict a person judged."""

    number: int
    name: str | None
    class_name: str | None
    review: str
    """`right`, `false_alarm` (the part is good) or `missed` (a defect)."""
    anomalous: bool
    """The verdict that was reviewed."""
    sha256: str
    """Of the image file, as hexadecimal digits."""
    file: bytes | None
    """The image file as it was sent; None where the service did not keep it."""


def open_history(path: Path) -> sqlite3.Connection:
    """Open a history for writing, made if it is missing; a `UserError` if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The pictures are the owner's; SQLite gives its side files the same permissions.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"The history {path} cannot be written: {error}. Name another file with --history, "
            "or give --no-history."
        ) from error
    db.row_factory = sqlite3.Row
    try:
        _prepare(db)
    except sqlite3.Error as error:
        db.close()
        raise UserError(
            f"{path} is not a usable history: {error}. Name another file with --history."
        ) from error
    return db


def read_reviews(path: Path) -> Iterator[Reviewed]:
    """The inspections that were reviewed, the last reviewed last.

    The history is only read; a service may be writing to it. A `UserError` says that it cannot be.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Name the file of `omnial serve --history`.")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)
        try:
            _check_version(db)
            rows = db.execute(
                "SELECT id, name, class, review, anomalous, sha256, file FROM inspections "
                "WHERE review IS NOT NULL ORDER BY reviewed, id"
            )
            for number, name, class_name, review, anomalous, sha256, content in rows:
                kept = content if isinstance(content, bytes) else None
                yield Reviewed(number, name, class_name, review, bool(anomalous), sha256, kept)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise UserError(
            f"{path} is not a usable history: {error}. Name the file of `omnial serve --history`."
        ) from error


def _check_version(db: sqlite3.Connection) -> None:
    found = [db.execute(f"PRAGMA {n}").fetchone()[0] for n in ("application_id", "user_version")]
    if found != [_APPLICATION, _VERSION]:
        raise sqlite3.DatabaseError(
            "another program or another version of omnial made it, or it was copied while a "
            "service wrote to it"
        )


def _prepare(db: sqlite3.Connection) -> None:
    is_new = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if is_new:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    else:
        _check_version(db)
    db.execute("PRAGMA journal_mode = WAL").fetchone()
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {16 * MEGABYTE}")
    if is_new:
        db.executescript(_SCHEMA)
