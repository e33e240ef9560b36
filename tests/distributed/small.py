"""A run so small that two processes share it in seconds; imported by the tests and by the pair."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from lightning_fabric import Fabric
from torch import Tensor, nn

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.cache import open_cache
from omnial.data.dataset import load_dataset
from omnial.data.layouts import discover
from omnial.distributed import collectives
from omnial.training import fit, loop
from omnial.training.drawing import draw
from omnial.training.loop import StepResult, TrainState, training_step
from omnial.training.sampler import Batch, BatchSampler

STEPS = 5
DIES_AT = 3
BATCH = 4
FLAGS = (
    *("data.height=64", "data.width=64", "model.stem=4"),
    *(f"training.batch_size={BATCH}", "training.precision=fp32"),
    *(f"training.steps={STEPS}", "training.checkpoint_minutes=1e-9"),
)
"""`training.checkpoint_minutes` is so small that every step ends with a checkpoint."""


def settings(*overrides: str) -> Settings:
    return load_settings(size="tiny", overrides=[*FLAGS, *overrides])


def sampler(data: Path, rank: int = 0, world: int = 1) -> BatchSampler:
    chosen = settings()
    catalogue = discover([data], need="train")
    records = [record for product in catalogue.classes for record in product.train]
    labels = [catalogue.names.index(record.class_name) for record in records]
    dataset = load_dataset(records, catalogue, chosen.data, open_cache(chosen.data))
    return BatchSampler(dataset, labels, None, chosen, rank=rank, world=world)


def gradients(batch: Batch, fabric: Fabric, *, frozen: bool) -> dict[str, Tensor]:
    """What one step from the start of a run leaves, with batch norm frozen or not."""
    state = TrainState.start(settings(), fabric)
    if frozen:
        for layer in state.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
    training_step(state, draw(batch, settings(), 0, None), settings(), fabric)
    return {
        name: parameter.grad
        for name, parameter in state.network.named_parameters()
        if parameter.grad is not None
    }


@contextmanager
def watched(dies_at: int | None = None) -> Iterator[list[tuple[int, float]]]:
    """Note each step and its loss over all processes; fail before a step is taken."""
    steps: list[tuple[int, float]] = []
    batch = BatchSampler.batch

    def made(self: BatchSampler, step: int) -> Batch:
        if step == dies_at:
            raise ValueError("killed")
        return batch(self, step)

    def counted(state: TrainState, *arguments: Any, **options: Any) -> StepResult:
        result = training_step(state, *arguments, **options)
        steps.append((state.step - 1, float(collectives.mean(result.loss))))
        return result

    with (
        mock.patch.object(BatchSampler, "batch", made),
        mock.patch.object(loop, "training_step", counted),
    ):
        yield steps


def run(
    data: Path, out: Path, dies_at: int | None = None, resume: bool = False
) -> list[tuple[int, float]]:
    """Train, or die trying; what each step's loss was, over all processes."""
    with watched(dies_at) as steps:
        try:
            fit.train(settings(), [data], out, resume=resume, progress=False)
        except ValueError:
            assert dies_at is not None
    return steps
