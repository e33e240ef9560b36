"""What the benchmarks share: entries, rounds of timing side by side, peaks of memory, growth."""

import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from rich.console import Console

from benchmarks.table import instruction_set, rich_table
from omnial import machine
from omnial.files import replacing


class Entry(TypedDict):
    """One figure."""

    value: float
    unit: str
    """`ratio`, `share`, `exponent`, `ms`, ...; a ratio says of what in its name."""
    command: str
    """What repeats it."""


Entries = dict[str, Entry]

_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")


def entries(command: str, figures: Mapping[str, tuple[float, str]]) -> Entries:
    """Entries that one command gives: value and unit by name, values to four digits."""
    return {
        name: {"value": float(f"{value:.4g}"), "unit": unit, "command": command}
        for name, (value, unit) in figures.items()
    }


def write_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def report(title: str, found: Entries, out: Path | None) -> None:
    """Print a benchmark's figures, and write them where a file is named."""
    title = f"{title}, {instruction_set(machine.describe()['isa'])}"
    Console(width=140).print(rich_table(title, found))
    if out is not None:
        write_json(out, found)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def side_by_side(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time several pieces of work in turn, round after round, after one round of warming up.

    The turns are short next to the swings of a shared machine, so that all pieces meet the same
    swings; `ratio` then compares within the rounds.

    Returns:
        Seconds of each piece in every round.
    """
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return times


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over the rounds of one time over the other."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of costs over sizes on logarithmic scales: 1 where twice the size costs twice."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def peak_bytes() -> int:
    """The largest resident memory of this process so far, or since `forget_peak`."""
    if _STATUS.exists():
        # A process starts with its parent's peak in `ru_maxrss`, but not in this figure.
        lines = _STATUS.read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> int:
    """Start a new peak from the memory in use now, where the system can; return that."""
    if _FORGET.exists():
        _FORGET.write_text("5", "ascii")
    return peak_bytes()


def in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of a module in a fresh process: its peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
