"""The one table of all figures: on the screen, and in a document between two marker comments.

python -m benchmarks.table --results runs/bench --document docs/results/bench.md
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from omnial.files import replacing

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
AIMS: Mapping[str, str] = {
    "training_step_vs_naive": "at least 6",
    "training_step_share_of_bare_convolutions": "at least 0.5",
    "synthesis_share_of_step": "at most 0.1",
    "synthesis_vs_reference": "at least 10",
    "inference_openvino_bf16_vs_torch_fp32": "at least 6",
    "inference_openvino_int8_vs_torch_fp32": "at least 8",
    "inference_openvino_bf16_vs_torch_fp32_paper": "at least 9",
    "inference_openvino_int8_vs_torch_fp32_paper": "at least 15",
    "pixel_metrics_time_vs_sklearn": "at most 0.1",
    "pixel_metrics_memory_vs_sklearn": "at most 0.125",
}
"""What some figures are meant to reach."""
_GROWTH_AIM = "at most 1.2"


def aim(name: str) -> str:
    """The aim of a figure in words; empty where it has none."""
    return _GROWTH_AIM if name.startswith("growth_") else AIMS.get(name, "")


def rich_table(title: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table for the screen."""
    table = Table(title=title)
    for column, justify in (("figure", "left"), ("value", "right"), ("unit", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("aim")
    for name, entry in found.items():
        table.add_row(name, f"{entry['value']:.4g}", entry["unit"], aim(name))
    return table


def markdown(found: Mapping[str, Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """The machine in one paragraph, the figures in one table, the commands below it."""
    flags = ", ".join(machine["isa"]) or "none of those asked for"
    lines = [
        f"Measured on {machine['date']} at commit `{machine['commit']}`: {machine['cpu']}, "
        f"{machine['cores']} cores ({flags}), {machine['memory_gb']} GB, "
        f"PyTorch {machine['torch']}, Python {machine['python']}.",
        "",
        "| figure | value | unit | aim |",
        "|---|---:|---|---|",
    ]
    lines += [
        f"| `{name}` | {entry['value']:.4g} | {entry['unit']} | {aim(name)} |"
        for name, entry in found.items()
    ]
    commands = dict.fromkeys(entry["command"] for entry in found.values())
    return "\n".join([*lines, "", *(f"    {command}" for command in commands)])


def between_markers(document: str, text: str) -> str:
    """A document with the text between its markers replaced.

    Raises:
        ValueError: The document does not have both markers, in order, once.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before or END in after:
        raise ValueError(f"the document must have {BEGIN} and then {END}, once")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def write_document(results: Path, document: Path) -> None:
    """Put the table of a folder's bench.json and machine.json into a document."""
    found = json.loads((results / "bench.json").read_text(encoding="utf-8"))
    machine = json.loads((results / "machine.json").read_text(encoding="utf-8"))
    text = between_markers(document.read_text(encoding="utf-8"), markdown(found, machine))
    with replacing(document) as part:
        part.write_text(text, encoding="utf-8")


def main(
    results: Annotated[Path, typer.Option(help="Folder of bench.json and machine.json.")] = Path(
        "runs/bench"
    ),
    document: Annotated[Path, typer.Option(help="Document with the markers.")] = Path(
        "docs/results/bench.md"
    ),
) -> None:
    write_document(results, document)


if __name__ == "__main__":
    typer.run(main)
