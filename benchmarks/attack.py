"""Throughput of the attack and its peak of memory against the batch size.

One sample's attack is five gradient steps and a last look. Memory is the peak of a process of its
own beyond what it has before the attack.

    python -m benchmarks.attack --size lite --rounds 3
"""

import statistics
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from benchmarks.common import (
    Entries,
    entries,
    forget_peak,
    growth_exponent,
    in_own_process,
    peak_bytes,
    report,
    side_by_side,
)
from omnial.attacks.pgd import Ball, Schedule, attack, undisturbed
from omnial.config.load import load_settings
from omnial.machine import keep_freed_memory
from omnial.models.channels_last import to_channels_last
from omnial.models.system import build_model
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize
from omnial.training.objective import training_loss

BATCHES = (1, 4, 16)


class Attack:
    """The set's attack on an untrained `surrogate`: what it costs does not depend on weights."""

    def __init__(self, size: str, batch: int) -> None:
        settings = load_settings(system="surrogate", size=size)
        self.network = to_channels_last(build_model(settings.model).eval())
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(batch, 3, 8, 8, generator=generator)
        edge = (settings.data.height, settings.data.width)
        images = nn.functional.interpolate(coarse, edge, mode="bilinear")
        self.random = SampleRandom(0, 0, torch.arange(batch))
        self.sample = synthesize(images, images.flip(0), settings.synthesis, self.random)
        self.objective = training_loss(self.network, self.sample, settings.objective)

    def __call__(self) -> None:
        """Attack the batch once."""
        with undisturbed(self.network):
            attack(*(self.objective, self.sample.anomalous, Ball(8 / 255), Schedule(), self.random))


def memory(size: str, batch: int) -> int:
    """Bytes that an attack takes at its peak."""
    work = Attack(size, batch)
    before = forget_peak()
    work()
    return peak_bytes() - before


def measure(size: str, batches: tuple[int, ...], rounds: int, command: str) -> Entries:
    """Samples a second and peak memory at each batch size, and how the memory grows."""
    keep_freed_memory()
    times = side_by_side({str(batch): Attack(size, batch) for batch in batches}, rounds)
    peaks = {batch: in_own_process(memory, size, batch) for batch in batches}
    figures = {}
    for batch in batches:
        speed = batch / statistics.median(times[str(batch)])
        figures[f"attack_speed_batch_{batch}_{size}"] = (speed, "samples/s")
        figures[f"attack_memory_batch_{batch}_{size}"] = (peaks[batch] / 2**20, "MiB")
    if len(batches) > 1:
        needed = [max(peak, 4096) for peak in peaks.values()]
        figures[f"growth_attack_memory_batch_{size}"] = (
            growth_exponent(batches, needed),
            "exponent",
        )
    return entries(command, figures)


def main(
    size: Annotated[str, typer.Option(help="Size of the network.")] = "lite",
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    command = f"python -m benchmarks.attack --size {size} --rounds {rounds}"
    found = (
        measure("tiny", (1, 2), 1, command) if quick else measure(size, BATCHES, rounds, command)
    )
    report("Attack", found, out)


if __name__ == "__main__":
    typer.run(main)
