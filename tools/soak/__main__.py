"""`python -m tools.soak`: kill, restart, compare, and write the results down."""

import os

# Before the libraries are imported: one thread is the same on every machine, and a process that
# has started others must not fork.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tools.soak.killer import preload
from tools.soak.record import write_record
from tools.soak.rounds import Tally, kill_all


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many, over all scenarios.")] = 120,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="A scenario; repeatable.")] = None,
    fresh_every: Annotated[
        int, typer.Option(min=0, help="Each so many-th kill is of a process started from nothing.")
    ] = 10,
    out: Annotated[Path, typer.Option(help="Folder for soak.json and soak.md.")] = Path(
        "runs/soak"
    ),
) -> None:
    """Kill `omnial` at random moments and before random changes to files.

    The exit code is 1 if a result differs from the undisturbed one, or a file was not whole.
    """
    preload(exports=not only or "export" in only)
    tallies: list[Tally] = []
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="omnial-soak-") as name:
        for tally in kill_all(Path(name).resolve(), kills, seed, tuple(only or ()), fresh_every):
            tallies = [*(t for t in tallies if t.name != tally.name), tally]
            # After every round: a soak that is cut short itself has its record.
            write_record(out, tallies, seed, _commit())
    raise typer.Exit(1 if any(tally.faults for tally in tallies) else 0)


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


typer.run(main)
