"""A run so small that two processes share it in seconds; imported by the tests and by the pair."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.cache import open_cache
from omnial.data.dataset import load_dataset
from omnial.data.layouts import discover
from omnial.training.feed import Feed, FeedBatch
from omnial.training.fit import train
from omnial.training.module import TrainingModule

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


def feed(data: Path, rank: int = 0, world: int = 1) -> Feed:
    chosen = settings()
    catalogue = discover([data], need="train")
    records = [record for product in catalogue.classes for record in product.train]
    labels = [catalogue.names.index(record.class_name) for record in records]
    store = load_dataset(records, catalogue, chosen.data, open_cache(chosen.data))
    return Feed(store, labels, None, 0.0, BATCH, seed=0, rank=rank, world=world)


class Loss(nn.Module):
    """A training step's loss as a module, without a trainer."""

    def __init__(self, *overrides: str) -> None:
        super().__init__()
        self.module = TrainingModule(settings(*overrides))
        self.module.log_dict = lambda *_, **__: None  # type: ignore[method-assign,assignment]

    def forward(self, batch: FeedBatch) -> Tensor:
        return self.module.training_step(batch, 0)


class Layer(NamedTuple):
    """A batch norm with all that it gives back for these samples; gradients are sums."""

    output: Tensor
    inputs: Tensor
    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor


def through_batch_norm(share: Callable[[nn.Module], None], rank: int, world: int) -> Layer:
    """Send a process's samples through a batch norm, forwards and backwards."""
    generator = torch.Generator().manual_seed(0)
    images, wanted = torch.randn(2, BATCH, 8, 6, 5, generator=generator)
    network = nn.Sequential(nn.BatchNorm2d(8))
    with torch.no_grad():
        network[0].weight.uniform_(0.5, 2.0, generator=generator)
    share(network)
    samples = (3.0 * images[rank::world] + 7.0).requires_grad_(True)
    output = network(samples)
    (output * wanted[rank::world]).sum().backward()
    layer = network[0]
    found = (output, samples.grad, layer.weight.grad, layer.bias.grad)
    return Layer(*(part.detach() for part in (*found, layer.running_mean, layer.running_var)))


def freeze_batch_norm(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


@contextmanager
def watched(dies_at: int | None = None) -> Iterator[list[tuple[int, float]]]:
    """Note each step and the loss that is logged for it; fail before a step is taken."""
    steps: list[tuple[int, float]] = []
    step, log = TrainingModule.training_step, TrainingModule.log_dict

    def counted(self: TrainingModule, batch: FeedBatch, batch_idx: int) -> Tensor:
        if batch["step"] == dies_at:
            raise ValueError("killed")
        steps.append((batch["step"], float("nan")))
        return step(self, batch, batch_idx)

    def logged(self: TrainingModule, values: dict[str, Tensor], **options: int) -> None:
        steps[-1] = (steps[-1][0], float(values["loss"]))
        log(self, values, **options)  # type: ignore[arg-type]

    with (
        mock.patch.object(TrainingModule, "training_step", counted),
        mock.patch.object(TrainingModule, "log_dict", logged),
    ):
        yield steps


def run(
    data: Path, out: Path, dies_at: int | None = None, resume: bool = False
) -> list[tuple[int, float]]:
    """Train, or die trying; what each step's loss was, over all processes."""
    with watched(dies_at) as steps:
        try:
            train(settings(), [data], out, resume=resume, progress=False)
        except ValueError:
            assert dies_at is not None
    return steps
