"""Parts that the Markdown pages of all studies share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

REMARKS_BEGIN: Final = "<!-- remarks: begin -->"
REMARKS_END: Final = "<!-- remarks: end -->"


class Table(NamedTuple):
    """A table as the template's macro `table` shows it: headings, and cells row by row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def machines(results: Sequence[Mapping[str, Any]]) -> str:
    """Commits and machines that result files come from, in words."""
    commits = sorted({result["machine"]["commit"] for result in results})
    words = sorted({_machine(result) for result in results})
    return f"Commits {', '.join(commits)}. Machines: {'; '.join(words)}."


def remarks_on(page: Path) -> str:
    """The author's remarks on an earlier page, between its markers; empty without a page."""
    if not page.is_file():
        return ""
    _, begin, rest = page.read_text("utf-8").partition(REMARKS_BEGIN)
    kept, end, _ = rest.partition(REMARKS_END)
    return kept.strip("\n") if begin and end else ""


def _machine(result: Mapping[str, Any]) -> str:
    facts = result["machine"]
    cores = "1 core" if facts["cores"] == 1 else f"{facts['cores']} cores"
    parts = [f"{cores} {facts['cpu']}", result.get("precision")]
    return ", ".join([*filter(None, parts), f"PyTorch {facts['torch']}"])
