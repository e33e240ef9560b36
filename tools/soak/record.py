"""The record of a soak: JSON for programs, Markdown for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from omnial import machine
from omnial.files import replacing
from tools.soak.rounds import Tally

_HEADINGS: Final = (
    *("command", "alone, s", "changes to files", "kills", "at a moment", "before a change"),
    *("fresh", "rounds", "identical", "faults"),
)


def write_record(out: Path, tallies: Sequence[Tally], seed: int, commit: str) -> None:
    """Write soak.json and soak.md."""
    facts = {"seed": seed, "commit": commit, "machine": machine.describe()}
    rows = {tally.name: {**asdict(tally), "kills": tally.kills} for tally in tallies}
    total = sum(tally.kills for tally in tallies)
    with replacing(out / "soak.json") as part:
        content = {**facts, "kills": total, "scenarios": rows}
        part.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    with replacing(out / "soak.md") as part:
        part.write_text(_page(tallies), "utf-8")


def _page(tallies: Sequence[Tally]) -> str:
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---" + "|---:" * (len(_HEADINGS) - 1) + "|"]
    for tally in tallies:
        counts = (tally.kills, tally.moments, tally.between, tally.fresh)
        ends = (tally.rounds, tally.identical, len(tally.faults))
        cells = (tally.name, f"{tally.seconds:.1f}", tally.changes, *counts, *ends)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    columns = zip(*((t.kills, t.moments, t.between, t.fresh) for t in tallies), strict=True)
    ends = (
        sum(t.rounds for t in tallies),
        sum(t.identical for t in tallies),
        sum(len(t.faults) for t in tallies),
    )
    lines.append("| all | | | " + " | ".join(map(str, (*map(sum, columns), *ends))) + " |")
    faults = [f"- {tally.name}, {text}" for tally in tallies for text in tally.faults]
    return "\n".join([*lines, *([""] if faults else []), *faults]) + "\n"
