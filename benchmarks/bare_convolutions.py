"""The convolutions of a network and nothing else: how long a training step could not be beaten to.

Every convolution's shapes are noted during one pass of the naive network; each is then run alone,
forward and backward, in the precision and layout of the training. What a real step takes beyond
that goes to norms, activations, attention, losses, synthesis and the optimiser.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import seconds

_PEAK_EDGE = 2048


@dataclass(frozen=True)
class Call:
    """One convolution: what it was given, and how."""

    transposed: bool
    inputs: tuple[int, ...]
    weight: tuple[int, ...]
    bias: bool
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    wants_input_gradient: bool

    def run(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution's forward pass."""
        where: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        convolve = F.conv_transpose2d if self.transposed else F.conv2d
        result: Tensor = convolve(images, weight, bias, **where)
        return result

    def operations(self) -> float:
        """Operations of forward and backward; a multiplication and an addition are two."""
        taps = self.weight[1] * self.weight[2] * self.weight[3]
        with torch.device("meta"):
            outputs = self.run(torch.empty(self.inputs), torch.empty(self.weight), None)
        positions = torch.Size(self.inputs) if self.transposed else outputs.shape
        return 2.0 * positions.numel() * taps * (3 if self.wants_input_gradient else 2)


def collect(network: nn.Module, images: Tensor) -> Counter[Call]:
    """The convolutions of one training pass, and how often each occurs."""
    calls: Counter[Call] = Counter()

    def note(layer: Any, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        (source,) = arguments
        calls[
            Call(
                isinstance(layer, nn.ConvTranspose2d),
                tuple(source.shape),
                tuple(layer.weight.shape),
                layer.bias is not None,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                source.requires_grad,
            )
        ] += 1

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def prepare(calls: Counter[Call], dtype: torch.dtype) -> Callable[[], None]:
    """Everything that the convolutions need, channels last; the result runs them all once."""
    generator = torch.Generator().manual_seed(0)

    def draw(shape: tuple[int, ...], gradient: bool = True) -> Tensor:
        values = torch.randn(shape, generator=generator).to(dtype)
        if values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        return values.requires_grad_(gradient)

    jobs: list[tuple[Call, int, Tensor, Tensor, Tensor | None, Tensor]] = []
    for call, times in calls.items():
        images, weight = draw(call.inputs, call.wants_input_gradient), draw(call.weight)
        outputs = call.weight[1] * call.groups if call.transposed else call.weight[0]
        bias = draw((outputs,)) if call.bias else None
        with torch.no_grad():
            shape = tuple(call.run(images, weight, bias).shape)
        jobs.append((call, times, images, weight, bias, draw(shape, gradient=False)))

    def run() -> None:
        for call, times, images, weight, bias, gradient in jobs:
            wanted = [t for t in (images, weight, bias) if t is not None and t.requires_grad]
            for _ in range(times):
                torch.autograd.grad(call.run(images, weight, bias), wanted, gradient)

    return run


def matrix_peak(dtype: torch.dtype, tries: int = 5) -> float:
    """Operations a second of one large matrix product, the best of some tries."""
    first, second = (torch.randn(_PEAK_EDGE, _PEAK_EDGE).to(dtype) for _ in range(2))
    product = torch.empty_like(first)
    best = min(seconds(lambda: torch.mm(first, second, out=product)) for _ in range(tries))
    return 2.0 * _PEAK_EDGE**3 / best
