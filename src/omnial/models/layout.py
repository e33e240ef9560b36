"""The memory layout that convolutions run fastest in: channels-last, on every device."""

import torch
from torch import nn


def lay_out(network: nn.Module) -> nn.Module:
    """Put a network's weights into channels-last layout, in place; its features follow."""
    # PyTorch's stubs leave out this overload of `to`.
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
