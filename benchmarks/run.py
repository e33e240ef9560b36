"""Run the benchmarks one after the other, print one table, and write what was found.

Each runs in a process of its own, so that neither memory nor threads leak from one to the next.
`bench.json` holds the figures and nothing else; what they were measured on is in `machine.json`.

    python -m benchmarks.run --out runs/bench --document docs/results/bench.md
    python -m benchmarks.run --only synthesis --only "training_step --size lite"
"""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.common import Entries, write_json
from benchmarks.table import instruction_set, rich_table, write_document
from omnial import machine

QUICK: Mapping[str, Sequence[str]] = {
    "training_step": ("--quick",),
    "memory_passes": ("--size", "tiny", "--batch", "2"),
    "synthesis": ("--quick",),
    "pixel_metrics": ("--quick",),
    "inference": ("--quick",),
    "input_cache": ("--images", "8", "--size", "64", "--rounds", "1"),
    "end_to_end": ("--quick",),
    "growth": ("--quick",),
    "attack": ("--quick",),
}
"""The benchmarks in the order that they run in, and what makes each of them small."""
_ROOT = Path(__file__).resolve().parents[1]


def measure(subject: str, arguments: Sequence[str]) -> Entries:
    """The figures of one benchmark, from a process of its own.

    Raises:
        subprocess.CalledProcessError: The benchmark failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "entries.json"
        command = [sys.executable, "-m", f"benchmarks.{subject}", "--out", str(out), *arguments]
        # Its own table would repeat what the one table shows; its errors must be seen.
        subprocess.run(command, check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)
        found: Entries = json.loads(out.read_text(encoding="utf-8"))
    return found


def main(
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(QUICK)}, with its options, as in 'inference --size lite'; "
            "may be repeated."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: shows that it works, measures nothing.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("runs/bench"),
    document: Annotated[
        Path | None, typer.Option(help="Put the figures into this document, between its markers.")
    ] = None,
) -> None:
    chosen = [(subject, rest) for subject, *rest in map(shlex.split, only or QUICK)]
    unknown = {subject for subject, _ in chosen} - set(QUICK)
    if unknown:
        raise typer.BadParameter(f"no benchmark is called {', '.join(sorted(unknown))}")
    facts = machine.describe()
    write_json(out / "machine.json", facts)
    console = Console(width=140)
    found: Entries = {}
    for subject, arguments in chosen:
        console.print(f"{subject} ...", end=" ")
        start = time.perf_counter()
        found |= measure(subject, [*arguments, *(QUICK[subject] if quick else ())])
        console.print(f"{time.perf_counter() - start:.0f} s")
        write_json(out / "bench.json", found)  # what comes next may be cut short
    title = f"{facts['cpu']}, {instruction_set(facts['isa'])}, commit {facts['commit']}"
    console.print(rich_table(title, found))
    if document is not None:
        write_document(out, document)


if __name__ == "__main__":
    typer.run(main)
