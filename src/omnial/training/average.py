"""The weight average that is shipped in place of the last step's weights."""

import copy

import torch
from torch import nn


class WeightAverage(nn.Module):
    """Running average of a network's parameters and floating buffers.

    Without the ramp of the decay a short run would keep its random start; without the buffers,
    averaged weights would meet batch statistics that are not theirs. The number of updates is the
    caller's, so that nothing is read back from the device. The largest decay is d; 0 follows the
    network.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network's state: decay min(d, (1 + t)/(10 + t)) after t updates.

        The first update, of step 0, copies.
        """
        decay = min(self._decay, (1.0 + step) / (10.0 + step)) if step else 0.0
        averaged, current = [], []
        for pairs in (
            zip(self.module.parameters(), network.parameters(), strict=True),
            zip(self.module.buffers(), network.buffers(), strict=True),
        ):
            for mean, value in pairs:
                if mean.is_floating_point():
                    averaged.append(mean)
                    current.append(value)
                else:
                    mean.copy_(value)
        torch._foreach_lerp_(averaged, current, 1.0 - decay)
