"""Print a Markdown table of several metrics.json side by side.

python tools/results_table.py NAME=metrics.json [NAME=metrics.json ...]
"""

import json
from pathlib import Path
from typing import Any

import typer

_SHOWN = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
}


def cell(figures: dict[str, Any]) -> str:
    """The shown figures of one class in percent, a dash where there is none."""
    values = (figures.get(key) for key in _SHOWN)
    return " / ".join("-" if value is None else f"{100 * value:.1f}" for value in values)


def main(tables: list[str]) -> None:
    """Print the table: a row a class, a column a file."""
    files = {}
    for entry in tables:
        name, _, path = entry.partition("=")
        files[name] = json.loads(Path(path).read_text("utf-8"))
    print(f"{' / '.join(_SHOWN.values())}, in percent\n")
    print("| class | " + " | ".join(files) + " |")
    print("|---" * (len(files) + 1) + "|")
    classes = list(next(iter(files.values()))["classes"])
    for name in classes:
        row = [cell(metrics["classes"][name]) for metrics in files.values()]
        print(f"| {name} | " + " | ".join(row) + " |")
    means = [f"**{cell(metrics['mean'])}**" for metrics in files.values()]
    print("| **mean** | " + " | ".join(means) + " |")


if __name__ == "__main__":
    typer.run(main)
