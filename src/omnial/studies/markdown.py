"""What the pages of all studies are made of: tables, pictures, machines, their author's remarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

REMARKS_BEGIN: Final = "<!-- remarks: begin -->"
REMARKS_END: Final = "<!-- remarks: end -->"


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def head(cells: Sequence[str]) -> list[str]:
    """The two lines above a table's first row."""
    return [line(cells), line(["---"] * len(cells))]


def table(lines: Sequence[str]) -> str:
    """A table, or any lines that belong together."""
    return "\n".join(lines) + "\n"


def picture(name: str, caption: str) -> str:
    """A picture with its caption below."""
    return f"![{caption}]({name})\n\n{caption}.\n"


def machines(results: Sequence[Mapping[str, Any]]) -> str:
    """The commits and machines that result files come from, in words."""
    commits = sorted({result["machine"]["commit"] for result in results})
    words = sorted({_machine(result) for result in results})
    return f"Commits {', '.join(commits)}. Machines: {'; '.join(words)}."


def _machine(result: Mapping[str, Any]) -> str:
    facts = result["machine"]
    cores = "1 core" if facts["cores"] == 1 else f"{facts['cores']} cores"
    parts = [f"{cores} {facts['cpu']}", result.get("precision")]
    return ", ".join([*filter(None, parts), f"PyTorch {facts['torch']}"])


def remarks(kept: str) -> str:
    """The place of the author's remarks, with those of an earlier page."""
    return "\n".join(filter(None, (REMARKS_BEGIN, kept, REMARKS_END))) + "\n"


def remarks_on(page: Path) -> str:
    """What stands between the markers of an earlier page; nothing where there is no page."""
    if not page.is_file():
        return ""
    _, begin, rest = page.read_text("utf-8").partition(REMARKS_BEGIN)
    kept, end, _ = rest.partition(REMARKS_END)
    return kept.strip("\n") if begin and end else ""
