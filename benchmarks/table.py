"""The tables of all figures: on the screen, and in a document, one for each instruction set.

New figures take the place of the old ones in the table of their instruction set, between the
document's two marker comments; what was not measured again stays, with its date and commit.

    python -m benchmarks.table --results runs/bench --document docs/results/bench.md
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from omnial.files import replacing

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


class Aim(NamedTuple):
    """What a figure is meant to reach."""

    bound: float
    why_missed: str = ""
    at_most: bool = False

    def in_words(self, value: float) -> str:
        """The aim, and why a value misses it."""
        words = f"at {'most' if self.at_most else 'least'} {self.bound:g}"
        if value <= self.bound if self.at_most else value >= self.bound:
            return words
        return f"{words}; missed: {self.why_missed or 'the reason is not known'}"


_MATRIX_UNIT = "without AMX, bf16 and INT8 compute at most 2 and 4 times as fast as float32"
_FEW_CHANNELS = f"{_MATRIX_UNIT}; with it, few channels fill the matrix unit badly"
AIMS: Mapping[str, Aim] = {
    "training_step_vs_naive": Aim(
        6, "bf16 speeds up the convolutions alone, and only twice without AMX"
    ),
    "training_step_share_of_bare_convolutions": Aim(
        0.5, "AMX speeds up the convolutions, not the passes over memory between them"
    ),
    "synthesis_share_of_step": Aim(
        0.1, "AMX speeds up the network, not the synthesis; an idle core draws ahead", at_most=True
    ),
    "synthesis_vs_reference": Aim(10, "the reference is vectorised within an image as well"),
    "inference_openvino_bf16_vs_torch_fp32": Aim(6, _FEW_CHANNELS),
    "inference_openvino_int8_vs_torch_fp32": Aim(8, _FEW_CHANNELS),
    "inference_openvino_bf16_vs_torch_fp32_paper": Aim(9, _MATRIX_UNIT),
    "inference_openvino_int8_vs_torch_fp32_paper": Aim(15, _MATRIX_UNIT),
    "pixel_metrics_time_vs_sklearn": Aim(0.1, at_most=True),
    "pixel_metrics_memory_vs_sklearn": Aim(0.125, at_most=True),
}
_GROWTH = Aim(1.2, at_most=True)
_INSTRUCTION_SETS: Mapping[str, str] = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 bf16 without AMX",
    "avx512f": "AVX-512 without bf16",
    "avx2": "AVX2",
    "asimd": "Arm NEON",
}
"""Flags of processors, and what we call one that has none above."""
_HEADING = "\n## "
_INDENT = "    "


def instruction_set(flags: Sequence[str]) -> str:
    """What bounds the arithmetic of a processor with these flags."""
    return next((name for flag, name in _INSTRUCTION_SETS.items() if flag in flags), "others")


def aim(name: str, value: float) -> str:
    """The aim of a figure in words, and why it is missed; empty where it has none."""
    found = _GROWTH if name.startswith("growth_") else AIMS.get(name)
    return found.in_words(value) if found else ""


def rich_table(title: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table for the screen."""
    table = Table(title=title)
    for column, justify in (("figure", "left"), ("value", "right"), ("unit", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("aim")
    for name, entry in found.items():
        table.add_row(name, f"{entry['value']:.4g}", entry["unit"], aim(name, entry["value"]))
    return table


def section(before: str, found: Mapping[str, Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """A document's text about one instruction set, with new figures.

    The machine of the last run in one paragraph, the figures in one table, the commands below it.
    """
    lines = before.splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    rows = {name.strip("`"): (value, unit, measured) for name, value, unit, measured, *_ in cells}
    measured = f"{machine['date']}, `{machine['commit']}`"
    for name, entry in found.items():
        rows[name] = (f"{entry['value']:.4g}", entry["unit"], measured)
    commands = [line.strip() for line in lines if line.startswith(_INDENT)]
    commands += [entry["command"] for entry in found.values()]
    return "\n".join(
        [
            f"{machine['cpu']}, cores used: {machine['cores']} ({', '.join(machine['isa'])}), "
            f"{machine['memory_gb']} GB, PyTorch {machine['torch']}, Python {machine['python']}.",
            "",
            "| figure | value | unit | measured | aim |",
            "|---|---:|---|---|---|",
            *(
                f"| `{name}` | {' | '.join(row)} | {aim(name, float(row[0]))} |"
                for name, row in rows.items()
            ),
            "",
            *(_INDENT + command for command in dict.fromkeys(commands)),
        ]
    )


def merged(text: str, found: Mapping[str, Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """The text between the markers, with new figures in the table of their instruction set."""
    parts = (part.partition("\n") for part in text.split(_HEADING)[1:])
    sections = {name: body.strip("\n") for name, _, body in parts}
    name = instruction_set(machine["isa"])
    sections[name] = section(sections.get(name, ""), found, machine)
    return "".join(f"{_HEADING}{name}\n\n{body}\n" for name, body in sections.items()) + "\n"


def write_document(results: Path, document: Path) -> None:
    """Put the figures of a folder's bench.json and machine.json into a document.

    Raises:
        ValueError: The document does not have both markers, in order, once.
    """
    found = json.loads((results / "bench.json").read_text(encoding="utf-8"))
    machine = json.loads((results / "machine.json").read_text(encoding="utf-8"))
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    text, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before or END in after:
        raise ValueError(f"the document must have {BEGIN} and then {END}, once")
    with replacing(document) as part:
        part.write_text(
            f"{before}{BEGIN}\n{merged(text, found, machine)}{END}{after}", encoding="utf-8"
        )


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
