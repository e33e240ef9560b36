"""Which memory layout convolutions run fastest in."""

import torch
from torch import nn


def preferred_layout(device: torch.device, *, bf16: bool = False) -> torch.memory_format:
    """Channels-last where matrix units take it (GPUs, bf16 on a CPU), else contiguous.

    In float32 on a CPU, convolutions use a blocked layout of their own, and instance norm wants
    contiguous channels: channels-last costs about a tenth of a training step there.
    """
    reduced = device.type != "cpu" or bf16
    return torch.channels_last if reduced else torch.contiguous_format


def lay_out(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Put a network's weights into a layout, in place."""
    # PyTorch's stubs leave out this overload of `to`.
    moved: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]
    return moved
