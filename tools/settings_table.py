"""The table of settings in `docs/configuration.md`; `make docs` writes it again."""

import json
import sys
from pathlib import Path

from omnial.config.reference import entries

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def settings_table() -> str:
    """The table of all settings in Markdown, a heading and a table for each group."""
    groups: dict[str, list[str]] = {}
    for path, default, allowed, description in entries():
        # Levels are three groups of their own and have no default to print in a cell.
        cell = "" if default is None else f"`{json.dumps(default)}`"
        row = f"| `{path}` | {cell} | {allowed} | {description} |"
        groups.setdefault(path.rpartition(".")[0], []).append(row)
    head = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    return "\n\n".join(
        "\n".join([f"### `{group}`" if group else "### Top level", "", *head, *rows])
        for group, rows in groups.items()
    )


def with_settings_table(page: str) -> str:
    """A Markdown page with the part between its two markers replaced by the table.

    Raises:
        ValueError: the page lacks one of the markers.
    """
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(with_settings_table(page.read_text("utf-8")), "utf-8")
