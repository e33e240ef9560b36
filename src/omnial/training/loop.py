"""The training loop: one step, and the run of steps around it."""

import copy
import logging
import math
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from omnial.attacks.pgd import Ball, Schedule, attack, undisturbed
from omnial.config.settings import Settings
from omnial.distributed import collectives
from omnial.errors import RunError
from omnial.machine import keep_freed_memory
from omnial.metrics.psnr_ssim import erased, running_figures
from omnial.models.channels_last import to_channels_last
from omnial.models.system import InspectionNetwork, Output, build_model
from omnial.sample_random import SampleRandom
from omnial.signals import noting_signals
from omnial.synthesis.recipe import SynthesizedBatch
from omnial.training.checkpoint import write_checkpoint
from omnial.training.devices import Precision
from omnial.training.drawing import Drawn, drawn_ahead
from omnial.training.log import LOG_STEPS, RunLog, clock
from omnial.training.objective import Losses, losses, training_loss
from omnial.training.optimizer import make_optimizers, take_step
from omnial.training.sampler import BatchSampler
from omnial.training.schedule import (
    MEASURED_STEPS,
    Budget,
    adversarial_epsilon,
    learning_rate,
)
from omnial.training.thread_choice import chosen_threads

_logger = logging.getLogger(__name__)

_CHECK_STEPS = 20
"""Steps from one look at the loss to the next: each waits for the device."""


@dataclass
class TrainState:
    """Everything that a training step changes."""

    network: nn.Module
    model: nn.Module
    """The network as Fabric wraps it, for its forward pass: DDP, where processes share a batch."""
    optimizers: list[torch.optim.Optimizer]
    average: nn.Module
    """The exponential moving average of the network, whose weights are shipped."""
    step: int = 0
    """Steps taken."""

    @classmethod
    def start(
        cls, settings: Settings, fabric: Fabric, network: nn.Module | None = None
    ) -> "TrainState":
        """The state before the first step; without a network, one of the run's seed."""
        training = settings.training
        if network is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(training.seed)
                network = build_model(settings.model)
        if isinstance(network, InspectionNetwork):
            network.pretrained = None  # it is not trained: it joins afterwards
        # Before the average copies it, and before DDP lays out its buckets in the same order.
        network = to_channels_last(network.to(fabric.device)).train()
        average = copy.deepcopy(network).requires_grad_(False)
        if training.compile:
            _compile(network)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        optimizers = make_optimizers(network, training)
        return cls(network, fabric.setup_module(network), optimizers, average)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)


class StepResult(NamedTuple):
    """What a training step computed."""

    sample: SynthesizedBatch
    output: Output
    terms: Losses
    loss: Tensor
    gradient_norm: Tensor

    def is_finite(self) -> bool:
        """Whether the loss and its gradient are numbers: a loss can be one alone."""
        return bool(torch.isfinite(self.loss + self.gradient_norm))


def training_step(
    state: TrainState,
    drawn: Drawn,
    settings: Settings,
    fabric: Fabric,
    *,
    precision: Precision = "fp32",
    total_steps: int | None = None,
) -> StepResult:
    """One training step, in place, on this process's samples on the training device.

    The precision is that of the network; losses and synthesis are in float32. The number of total
    steps is None while a time budget has not been measured yet.
    """
    training, objective = settings.training, settings.objective
    autocast = torch.autocast(
        fabric.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
    )
    sample = drawn.sample
    if training.adversarial_steps:
        epsilon = adversarial_epsilon(state.step, total_steps, training)
        with autocast:
            sample = perturb(state.network, sample, settings, drawn.random, epsilon)

    with autocast:
        output: Output = state.model(sample.anomalous)
    terms = losses(output, sample, objective)
    loss = terms.total(objective).mean()

    state.network.zero_grad()
    fabric.backward(loss)
    gradient_norm = nn.utils.clip_grad_norm_(state.network.parameters(), training.gradient_clip)
    take_step(state.optimizers, learning_rate(state.step, total_steps, training))
    update_average(state.average, state.network, state.step, training.average_decay)
    state.step += 1
    return StepResult(sample, output, terms, loss.detach(), gradient_norm)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Take a network's parameters and buffers into their exponential moving average.

    The decay is min(d, (1 + t)/(10 + t)) after t updates, and the first update, of step 0, copies:
    without this ramp a short run would keep its random start. Without the buffers, averaged
    weights would meet batch statistics that are not theirs. Counters are copied.
    """
    decay = min(decay, (1.0 + step) / (10.0 + step)) if step else 0.0
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    weights = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([mean for mean, _ in weights], [now for _, now in weights], 1.0 - decay)
    for counter, value in pairs:
        if not counter.is_floating_point():
            counter.copy_(value)


def perturb(
    network: nn.Module,
    sample: SynthesizedBatch,
    settings: Settings,
    random: SampleRandom,
    epsilon: float,
) -> SynthesizedBatch:
    """Attack some of a step's anomalous images in the network as it stands (Madry et al. 2018).

    They are the first of the whole batch, whatever the number of processes. The targets stay those
    of the unattacked sample. The attack leaves no trace in the network: it is in eval mode
    meanwhile, so batch norm's statistics are those of trained-on images. The network runs in the
    training's precision: a sign is all that a step takes of a gradient.
    """
    rank, processes = collectives.rank(), collectives.size()
    count = math.ceil(settings.training.adversarial_share * len(random) * processes)
    first = slice(len(range(rank, count, processes)))
    if first.stop == 0:
        return sample
    attacked = SynthesizedBatch(*(part[first] for part in sample))
    with undisturbed(network, exact=False):
        result = attack(
            training_loss(network, attacked, settings.objective),
            attacked.anomalous,
            Ball(epsilon),
            Schedule(settings.training.adversarial_steps),
            random[first],
        )
    others = sample.anomalous[first.stop :]
    return sample._replace(anomalous=torch.cat((result.images, others)))


def run_loop(
    state: TrainState,
    sampler: BatchSampler,
    budget: Budget,
    settings: Settings,
    fabric: Fabric,
    log: RunLog,
    checkpoint: Path,
    precision: Precision,
) -> None:
    """Take steps until the budget is spent, with a checkpoint now and then and at the end.

    Of several processes, each must call this; the first one alone writes.

    Raises:
        RunError: The loss or its gradient is no longer finite, or the disk cannot be written.
        KeyboardInterrupt: A signal stopped the run; its state is saved.
    """
    keep_freed_memory()
    fixed_threads = fabric.world_size > 1 or fabric.device.type != "cpu"
    saved, before = budget.seconds, time.monotonic()
    with (
        noting_signals() as signals,
        chosen_threads(fixed=fixed_threads) as choose_threads,
        closing(drawn_ahead(sampler, budget, settings, fabric, state.step)) as ahead,
    ):
        while not budget.is_spent(state.step):
            drawn, total = next(ahead), budget.total_steps
            result = training_step(
                state, drawn, settings, fabric, precision=precision, total_steps=total
            )
            log.picture(state.step, state.average, result.sample)
            if state.step % LOG_STEPS == 0:
                left = budget.seconds_left(state.step)
                log.write(state.step, _log_values(result), total, left)

            # The first process's clock decides, so that all take the same number of steps.
            now = time.monotonic()
            seconds = collectives.from_first(now - before)
            budget.count(state.step, seconds)
            if drawn.pixels != "half":  # these take turns with whole ones: one kind will do
                choose_threads(seconds, drawn.pixels == "mixed")
            before = now
            if state.step == MEASURED_STEPS:
                _say_how_long(budget, state.step, settings.training.batch_size)
            stopped = collectives.any_of(bool(signals))
            ends = stopped or budget.is_spent(state.step)
            due = budget.seconds - saved >= 60.0 * settings.training.checkpoint_minutes
            if ends or due or state.step % _CHECK_STEPS == 0:
                _refuse_non_finite(result, state.step)
            if ends or due:
                content = {**state.state_dict(), "budget": budget.state_dict()}
                collectives.first(partial(write_checkpoint, checkpoint, content))
                saved = budget.seconds
            if stopped and not budget.is_spent(state.step):
                of = f" of {budget.total_steps:,}" if budget.total_steps else ""
                raise KeyboardInterrupt(f"at step {state.step:,}{of}")


def _say_how_long(budget: Budget, step: int, batch_size: int) -> None:
    """Say how long the run will take, once its first steps are measured."""
    left = budget.seconds_left(step)
    if left is not None and budget.total_steps is not None and not budget.is_spent(step):
        text = "the training will take about %s: %d steps of %d images"
        _logger.info(text, clock(budget.seconds + left), budget.total_steps, batch_size)


def _log_values(result: StepResult) -> dict[str, float]:
    """The losses of a step and what it reconstructed, over the samples of all processes."""
    sample = result.sample
    parts = running_figures(
        result.output.reconstruction.detach(), sample.anomalous, sample.normal, sample.mask
    )
    values = {"loss": result.loss}
    values |= {name: term.detach().mean() for name, term in result.terms._asdict().items()}
    values |= dict(zip(("psnr", "left", "drawn"), parts, strict=True))
    means = collectives.mean(torch.stack(list(values.values())))
    means = torch.cat((means[:-2], erased(means[-2:-1], means[-1:])))
    return dict(zip((*list(values)[:-2], "erased"), means.tolist(), strict=True))


def _refuse_non_finite(result: StepResult, step: int) -> None:
    """Stop a run that is no longer in numbers, in all its processes at once."""
    if collectives.any_of(not result.is_finite()):
        raise RunError(
            f"the loss or its gradient is no longer a finite number at step {step}; the last "
            "checkpoint is kept. Lower training.learning_rate, or check the images"
        )


def _compile(network: nn.Module) -> None:
    """Compile where it can be done; on the CPU that needs a C++ compiler."""
    if not torch.cuda.is_available() and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        _logger.warning("training.compile is left out: no C++ compiler was found on this machine")
        return
    network.compile()
