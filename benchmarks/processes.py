"""Training by two processes with one thread each next to one process with two threads.

Both have the same cores, so that the ratio shows what sharing a batch costs: the exchange of
gradients, and smaller pieces of work. It says nothing of what a second device gains.

    python -m benchmarks.processes --size lite --steps 12
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import entries, report
from omnial.demo.production_line import CLASS_NAMES, generate


def main(
    size: Annotated[str, typer.Option(help="Size of the network.")] = "lite",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 12,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind, in turns.")] = 3,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure, print, and write if asked to."""
    speeds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        generate(data, seed=0, classes=CLASS_NAMES[:2], size=256, train=20, test_good=1, per_kind=1)
        for number in range(rounds):
            for processes, found in speeds.items():
                model = Path(folder) / f"model_{processes}_{number}"
                found.append(images_per_second(data, model, size, steps, processes))
    one, two = (statistics.median(speeds[processes]) for processes in (1, 2))
    figures = {
        "training with one process of two threads": (one, "images/s"),
        "training with two processes of one thread": (two, "images/s"),
        "two processes over one": (two / one, "ratio"),
    }
    command = f"python -m benchmarks.processes --size {size} --steps {steps} --rounds {rounds}"
    report("distributed", entries(command, figures), out)


def images_per_second(data: Path, model: Path, size: str, steps: int, processes: int) -> float:
    """Images per second of the training steps of one run."""
    command = [sys.executable, "-m", "omnial", "train", "--json", "--data", str(data)]
    command += ["--out", str(model), "--size", size, "--steps", str(steps)]
    command += ["--devices", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": str(2 // processes)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(json.loads(ended.stdout)["images_per_second"])


if __name__ == "__main__":
    typer.run(main)
