"""Writes the tables of README.md here from the corpus: python -m tests.bad_input.page."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tests.bad_input import listings, pictures
from tests.bad_input.names import NAMES
from tests.bad_input.outcomes import Case, Listing, Outcome, Read, Refused

PAGE = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- the tables: make docs -->", "<!-- end of the tables -->"
_LONGEST_NAME = 32
_PARTS = (
    ("Empty, and of another kind", pictures.EMPTY_AND_FOREIGN),
    ("Cut", pictures.CUT),
    ("Damaged", pictures.CONTAINERS),
    ("Too large", pictures.LARGE),
    ("Unusual shapes", pictures.SHAPES),
    ("Unusual colours", pictures.COLOURS),
    ("Metadata", pictures.METADATA),
    ("Several things in one, and unusual but sound", pictures.SEVERAL),
    ("Names, links and devices", NAMES),
)
_DATA_SETS = (
    ("Tables of VisA", listings.TABLES),
    ("Masks", listings.MASKS),
    ("Folders", listings.FOLDERS),
)


def tables() -> str:
    """All tables, in Markdown."""
    parts = [f"### {heading}\n\n{_files(cases)}" for heading, cases in _PARTS]
    parts.append("## Data sets")
    parts += [f"### {heading}\n\n{_listings(cases)}" for heading, cases in _DATA_SETS]
    return "\n\n".join(parts)


def with_tables(page: str) -> str:
    """A page with the part between its two markers replaced by the tables.

    Raises:
        ValueError: The page lacks one of the markers.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n\n{tables()}\n\n{_END}{after}"


def _files(cases: Iterable[Case]) -> str:
    rows = [
        (_code(c.name), c.made, c.loader, _predicted(c.predictor), c.service or "not sent")
        for c in cases
    ]
    return _table(("file", "what it is", "loader", "predictor", "service"), rows)


def _predicted(outcome: Outcome) -> str:
    if isinstance(outcome, Read):
        return "verdict"
    return "row with that error" if isinstance(outcome, Refused) else str(outcome)


def _listings(cases: Iterable[Listing]) -> str:
    rows = [
        (case.name, case.made, f"refused: {case.message}" if case.message else "read")
        for case in cases
    ]
    return _table(("data set", "what is wrong with it", "loader"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(_cell(str(cell)) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(name: str) -> str:
    """A file's name as ASCII, control characters and bytes that are no text escaped."""
    text = ascii(name)[1:-1]
    if len(text) > _LONGEST_NAME:
        text = f"{text[:_LONGEST_NAME]}..."
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    for page in [Path(name) for name in sys.argv[1:]] or [PAGE]:
        page.write_text(with_tables(page.read_text("utf-8")), "utf-8")
