"""The training step next to the naive version of its network, and next to its bare convolutions.

- Ours: synthesis, network, losses, backward, clipping, optimizer and weight average, as a
  training run does them, in the precision that this machine trains in. Logging and the choice of
  images are left out.
- Naive: the same synthesis, losses and network in float32, contiguous, of the library's layers
  (`naive_network`), with plain Adam and the library's weight average.
- Bare: every convolution of the network alone (`bare_convolutions`).

    python -m benchmarks.training_step --size lite --rounds 8
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks import bare_convolutions
from benchmarks.common import Entries, entries, ratio, report, side_by_side
from benchmarks.naive_network import NaiveNetwork
from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.machine import keep_freed_memory
from omnial.models.system import Output
from omnial.training import loop
from omnial.training.devices import choose_precision
from omnial.training.drawing import draw
from omnial.training.loop import TrainState, training_step
from omnial.training.objective import losses
from omnial.training.sampler import Batch

PLAN: dict[str, tuple[int | None, int]] = {"lite": (None, 8), "tiny": (None, 12), "base": (4, 2)}
"""Batch size (None is the size's own) and rounds of each size that `make bench` measures."""
_QUICK: dict[str, tuple[int | None, int]] = {"tiny": (2, 1)}
_MAIN_SIZE = "lite"
STAGES = ("synthesis", "forward", "loss", "backward", "optimiser", "average")


def example_batch(settings: Settings) -> Batch:
    """A batch as the sampler gives it: smooth random images of 8 bits."""
    data, batch = settings.data, settings.training.batch_size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2 * batch, 3, 8, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, (data.height, data.width), mode="bicubic")
    images = (255 * smooth.clamp(0, 1)).to(torch.uint8)
    region = torch.ones(batch, 1, data.height, data.width, dtype=torch.bool)
    return Batch(torch.arange(batch), images[:batch], images[batch:], region)


class Step:
    """Our training step, with a clock between its stages."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.batch = settings, example_batch(settings)
        self.precision, _ = choose_precision(settings.training)
        self.fabric = Fabric(accelerator="cpu", devices=1)
        self.state = TrainState.start(settings, self.fabric)
        self.times: dict[str, list[float]] = defaultdict(list)
        self._ended = 0.0

    def _timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, which books the time since the stage before it to its own."""

        def timed(*arguments: Any, **options: Any) -> Any:
            result = work(*arguments, **options)
            now = time.perf_counter()
            self.times[stage].append(now - self._ended)
            self._ended = now
            return result

        return timed

    def __call__(self) -> None:
        """One step."""
        state = self.state
        with (
            mock.patch.object(state, "model", self._timed("forward", state.model)),
            mock.patch.object(self.fabric, "backward", self._backward(self.fabric.backward)),
            mock.patch.object(loop, "take_step", self._timed("optimiser", loop.take_step)),
            mock.patch.object(loop, "update_average", self._timed("average", loop.update_average)),
        ):
            self._ended = time.perf_counter()
            drawn = self._timed("synthesis", draw)(self.batch, self.settings, state.step, None)
            training_step(state, drawn, self.settings, self.fabric, precision=self.precision)

    def _backward(self, work: Callable[..., Any]) -> Callable[..., Any]:
        timed = self._timed("backward", work)

        def backward(*arguments: Any) -> None:
            self._timed("loss", lambda: None)()
            timed(*arguments)

        return backward


def naive_step(settings: Settings, weights: nn.Module) -> Callable[[], None]:
    """The naive version: the same weights at the start, the same synthesis and losses."""
    network = NaiveNetwork(settings.model)
    network.load_state_dict(weights.state_dict())
    averaging = get_ema_multi_avg_fn(settings.training.average_decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=averaging)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.training.learning_rate)
    batch = example_batch(settings)

    def run() -> None:
        sample = draw(batch, settings, 0, None).sample
        output = Output(*network(sample.anomalous))
        terms = losses(output, sample, settings.objective)
        optimizer.zero_grad()
        torch.autograd.backward(terms.total(settings.objective).mean())
        nn.utils.clip_grad_norm_(network.parameters(), settings.training.gradient_clip)
        optimizer.step()
        average.update_parameters(network)

    return run


def measure_size(size: str, batch: int | None, rounds: int, command: str) -> Entries:
    """The figures of one size."""
    # All steps on whole images, so that every round is the same work; both sides profit from
    # memory that is kept.
    overrides = ["training.accelerator=cpu", "training.quarter_share=0"]
    keep_freed_memory()
    if batch is not None:
        overrides.append(f"training.batch_size={batch}")
    settings = load_settings(size=size, overrides=overrides)
    step = Step(settings)
    dtype = torch.bfloat16 if step.precision == "bf16" else torch.float32
    images = torch.rand(settings.training.batch_size, 3, settings.data.height, settings.data.width)
    calls = bare_convolutions.collect(NaiveNetwork(settings.model), images)
    bare = bare_convolutions.prepare(calls, dtype)
    naive = naive_step(settings, step.state.network)
    times = side_by_side({"ours": step, "naive": naive, "bare": bare}, rounds)
    peak = bare_convolutions.matrix_peak(dtype)

    operations = sum(call.operations() * count for call, count in calls.items())
    speed = operations / statistics.median(times["bare"])
    # The first call of each stage belongs to the round of warming up.
    stages = {stage: statistics.median(step.times[stage][1:]) for stage in STAGES}
    whole = sum(stages.values())
    suffix = "" if size == _MAIN_SIZE else f"_{size}"
    per_second = settings.training.batch_size / statistics.median(times["ours"])
    figures = {
        "training_step_vs_naive": (ratio(times["naive"], times["ours"]), "ratio"),
        "training_step_share_of_bare_convolutions": (ratio(times["bare"], times["ours"]), "share"),
        **{
            f"{'synthesis' if stage == 'synthesis' else 'training_' + stage}_share_of_step": (
                taken / whole,
                "share",
            )
            for stage, taken in stages.items()
        },
        "bare_convolutions_share_of_matrix_peak": (speed / peak, "share"),
        "bare_convolutions_speed": (speed / 1e12, "TFLOP/s"),
        "matrix_product_speed": (peak / 1e12, "TFLOP/s"),
        "training_step_speed": (per_second, f"images/s in {step.precision}"),
    }
    return entries(command, {name + suffix: figure for name, figure in figures.items()})


def measure(plan: dict[str, tuple[int | None, int]] = PLAN) -> Entries:
    """The figures of several sizes: batch size and rounds of each."""
    found: Entries = {}
    for size, (batch, rounds) in plan.items():
        command = f"python -m benchmarks.training_step --size {size} --rounds {rounds}"
        command += "" if batch is None else f" --batch {batch}"
        found |= measure_size(size, batch, rounds, command)
    return found


def main(
    size: Annotated[
        list[str] | None, typer.Option(help="Sizes, `paper` too; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds, where a size is named.")] = 8,
    batch: Annotated[int | None, typer.Option(help="Images a step, where a size is named.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    plan = dict.fromkeys(size, (batch, rounds)) if size else _QUICK if quick else PLAN
    report("Training step", measure(plan), out)


if __name__ == "__main__":
    typer.run(main)
