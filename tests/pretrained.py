"""Random weights in place of the pretrained ones, which tests have no need of."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from omnial.models.efficientnet import EfficientNet, folded
from omnial.training import fit


def published(seed: int = 0) -> dict[str, Tensor]:
    """Names and shapes of the published file as far as they are used, with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    rows = [(1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40)]
    weights: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        spread = (2.0 / (shape[1] * shape[2] * shape[3])) ** 0.5
        weights[f"{convolution}.weight"] = spread * torch.randn(shape, generator=generator)
        for name in ("weight", "bias", "running_mean", "running_var"):
            numbers = torch.rand(shape[0], generator=generator)
            weights[f"{norm}.{name}"] = numbers if name == "bias" else numbers + 0.5
        weights[f"{norm}.running_mean"] -= 1.0

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    index, inputs = 0, 32
    for blocks, kernel, expansion, outputs in rows:
        for _ in range(blocks):
            name, width = f"_blocks.{index}", inputs * expansion
            if expansion > 1:
                add(f"{name}._expand_conv", f"{name}._bn0", width, inputs, 1, 1)
            add(f"{name}._depthwise_conv", f"{name}._bn1", width, 1, kernel, kernel)
            add(f"{name}._project_conv", f"{name}._bn2", outputs, width, 1, 1)
            index, inputs = index + 1, outputs
    return weights


def random_network() -> EfficientNet:
    """A network with the weights of `published`."""
    network = EfficientNet()
    network.load_state_dict(folded(published()))
    return network.eval()


@contextmanager
def without_the_package() -> Iterator[None]:
    """Trainings take random weights meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "pretrained_network", random_network)
        yield
