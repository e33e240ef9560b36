"""The history as a CSV file that a spreadsheet may open without running what is in it."""

import csv
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import StringIO

from omnial.serving.history import Kept

_HEADINGS = (
    *("id", "time", "name", "class", "score", "threshold", "verdict", "review", "reviewed"),
    *("outlines", "largest_area", "width", "height", "model", "sha256"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def utc(seconds: float) -> str:
    """A time as ISO 8601, to the millisecond."""
    stamp = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


async def csv_lines(entries: AsyncIterator[Kept]) -> AsyncIterator[str]:
    """The lines of the file, the headings first.

    Texts that a request chose get an apostrophe in front where a spreadsheet would take them for
    a formula (OWASP, "CSV Injection"); every text is quoted.
    """
    yield _line(_HEADINGS)
    async for kept in entries:
        yield _line(
            (
                *(kept.id, utc(kept.time), _harmless(kept.name), _harmless(kept.class_name)),
                *(f"{kept.score:.6f}", f"{kept.threshold:.6f}"),
                *("anomalous" if kept.anomalous else "good", kept.review or ""),
                "" if kept.reviewed is None else utc(kept.reviewed),
                *(len(kept.outlines), max((o["area"] for o in kept.outlines), default=0)),
                *(kept.width, kept.height, kept.model, kept.sha256),
            )
        )


def _line(cells: tuple[object, ...]) -> str:
    text = StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(cells)
    return text.getvalue()


def _harmless(text: str | None) -> str:
    if text is None:
        return ""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
