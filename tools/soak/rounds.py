"""Rounds of a scenario: a few kills in a row, then a run to the end and a comparison."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tools.soak.killer import Ended, Kill, run
from tools.soak.scenarios import (
    CACHE,
    OUT,
    Scenario,
    draw_material,
    scenarios,
    start_from,
    train_models,
)

_MOST_KILLS: Final = 4
"""Kills of one round, at most."""
_START_SECONDS: Final = 4.0
"""What a process started from nothing needs before it does anything, roughly."""


@dataclass
class Tally:
    """What was seen of a scenario so far.

    Attributes:
        name: The scenario.
        seconds: An undisturbed run, libraries imported.
        changes: Its changes to files.
        moments: Kills at a random moment.
        between: Kills before a random change to a file.
        fresh: Of the kills at a random moment, those of a process started from nothing.
        too_late: Runs that ended before their time came.
        rounds: Runs to the end after kills.
        identical: Of these, those with the undisturbed result.
        checked: Inspections of what a killed run left.
        faults: What was wrong, in words.
    """

    name: str
    seconds: float = 0.0
    changes: int = 0
    moments: int = 0
    between: int = 0
    fresh: int = 0
    too_late: int = 0
    rounds: int = 0
    identical: int = 0
    checked: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """All kills."""
        return self.moments + self.between


def kill_all(
    folder: Path, kills: int, seed: int, only: Sequence[str], fresh_every: int
) -> Iterator[Tally]:
    """Kill in all scenarios; yields a scenario's tally after every round.

    Args:
        folder: For everything that is made.
        kills: How many at least, over all scenarios.
        seed: Of the moments.
        only: Names of scenarios; empty is all.
        fresh_every: Each so many-th kill is of a process started from nothing; 0 is none.
    """
    material = draw_material(folder / "material")
    chosen = [s for s in scenarios(material) if not only or s.name in only]
    if any(str(material.model) in scenario.arguments for scenario in chosen):
        train_models(material)
    shares = sum(scenario.share for scenario in chosen)
    for number, scenario in enumerate(chosen):
        generator = np.random.default_rng([seed, number])
        wanted = -(-kills * scenario.share // shares)
        yield from _kill(folder / scenario.name, scenario, wanted, generator, fresh_every)


def _kill(
    folder: Path,
    scenario: Scenario,
    wanted: int,
    generator: np.random.Generator,
    fresh_every: int,
) -> Iterator[Tally]:
    tally = Tally(scenario.name)
    allowed: dict[str, dict[str, str]] = {}
    earlier = None
    if scenario.over is not None:
        earlier = folder / "earlier"
        _finish(scenario.over, earlier, None)
        allowed["earlier"] = scenario.result(earlier)
    undisturbed = _finish(scenario.arguments, folder / "undisturbed", earlier)
    allowed["new"] = scenario.result(folder / "undisturbed")
    tally.seconds, tally.changes = undisturbed.seconds, undisturbed.changes
    while tally.kills < wanted:
        place = folder / "round"
        start_from(place, earlier)
        for _ in range(int(generator.integers(1, _MOST_KILLS + 1))):
            kill = _draw(undisturbed, generator, tally, fresh_every)
            ended = run(scenario.arguments, place, _environment(place), kill)
            if not ended.killed:
                tally.too_late += 1
                break
            tally.moments += kill.seconds is not None
            tally.between += kill.change is not None
            tally.fresh += kill.fresh
            tally.checked += 1
            faults = scenario.faults(place, allowed, finished=False)
            tally.faults += [f"after {kill}: {text}" for text in faults]
        ended = run(scenario.arguments, place, _environment(place))
        faults = scenario.faults(place, allowed, finished=True)
        if ended.code != undisturbed.code:
            log = (place / "log.txt").read_text("utf-8", "replace").splitlines()
            faults.append(f"exit code {ended.code}: {' '.join(log[-1:])}")
        tally.rounds += 1
        tally.identical += not faults
        tally.faults += [f"in the end: {text}" for text in faults]
        print(
            f"{time.strftime('%H:%M:%S')}  {scenario.name}: {tally.kills} of {wanted} kills, "
            f"{tally.identical} of {tally.rounds} identical, {len(tally.faults)} faults",
            file=sys.stderr,
            flush=True,
        )
        yield tally


def _finish(arguments: Sequence[str], folder: Path, earlier: Path | None) -> Ended:
    start_from(folder, earlier)
    ended = run(arguments, folder, _environment(folder))
    if ended.code not in (0, 1) or not (folder / OUT).is_dir():
        raise RuntimeError(f"undisturbed, it failed: see {folder / 'log.txt'}")
    return ended


def _draw(
    undisturbed: Ended, generator: np.random.Generator, tally: Tally, fresh_every: int
) -> Kill:
    """Where the next run is killed: every other time at a moment, else before a change."""
    tried = tally.kills + tally.too_late
    if fresh_every and tried % fresh_every == fresh_every - 1:
        return Kill(float(generator.uniform(0, undisturbed.seconds + _START_SECONDS)), fresh=True)
    if tried % 2:
        return Kill(change=int(generator.integers(1, undisturbed.changes + 1)))
    return Kill(float(generator.uniform(0, undisturbed.seconds)))


def _environment(folder: Path) -> dict[str, str]:
    return {"OMNIAL_CACHE": str(folder / CACHE), "COLUMNS": "100"}
