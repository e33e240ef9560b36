"""A network whose logits are the evidence of network and normality together, with gradients.

For attacks: one that did not see the normality would be no attack on the model. The formulas are
those of `omnial.models.normality`.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.models.normality import EVIDENCE, HALF, NETWORK_WEIGHT, TAIL_KNOTS, Normality
from omnial.models.system import Output
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel

_LOGIT = 16.1  # log odds of the probabilities next to 0 and 1 that `normality` tells apart
_LEAST = 1e-6


class NormalityNetwork(nn.Module):
    """The network's output for images of one product, with the score of both as its logits.

    The two logits are 0 and log(evidence / 6), whose softmax is evidence / (evidence + 6).

    Args:
        network: From `build_model`.
        normality: Of the product.
    """

    def __init__(self, network: nn.Module, normality: Normality) -> None:
        super().__init__()
        self.network = network
        device = next(network.parameters()).device
        for name, array in normality.arrays().items():
            self.register_buffer(name, torch.from_numpy(array).to(device), persistent=False)

    def forward(self, images: Tensor) -> Output:
        """Forward pass of images (B, 3, H, W) in [0, 1]; in eval mode alone."""
        output: Output = self.network(images)
        assert output.embedding is not None
        logits = output.logits.float()
        odds = (logits[:, 1] - logits[:, 0]).clamp(-_LOGIT, _LOGIT)
        evidence = NETWORK_WEIGHT * _tail(odds, self.get_buffer("network_quantiles"))
        if output.embedding.shape[-2:] == self.get_buffer("mean").shape[-2:]:
            cells = _tail(self._distances(output.embedding), self.get_buffer("distance_quantiles"))
            pixels = F.interpolate(
                cells[:, None], images.shape[-2:], mode="bilinear", align_corners=False
            )
            evidence = evidence + pixels[:, 0]
        score = torch.log(evidence + _LEAST) - np.log(HALF)
        return output._replace(logits=torch.stack((torch.zeros_like(score), score), 1))

    def _distances(self, embedding: Tensor) -> Tensor:
        centred = embedding.float() - self.get_buffer("center")[:, None, None]
        components = torch.einsum("de,behw->bdhw", self.get_buffer("basis"), centred)
        standard = (components - self.get_buffer("mean")) / self.get_buffer("deviation")
        return torch.sqrt(standard.square().mean(1) + _LEAST**2)


def for_product(model: TrainedModel, class_name: str) -> TrainedModel:
    """The model as it decides about a product: with its normality in the network."""
    own = model.normality.get(class_name)
    if own is None:
        return model
    return replace(model, network=NormalityNetwork(model.network, own), normality={})


def backends(model: TrainedModel) -> Callable[[str], TorchBackend]:
    """PyTorch as an engine for the images of each product, with its normality."""
    return lambda class_name: TorchBackend(for_product(model, class_name))


def _tail(values: Tensor, quantiles: Tensor) -> Tensor:
    """-log10 of the share of normal values beyond, piecewise linear: see `normality`."""
    evidence = torch.as_tensor(EVIDENCE, dtype=torch.float32, device=values.device)
    index = torch.searchsorted(quantiles, values.detach().contiguous(), right=True)
    index = (index - 1).clamp(0, len(quantiles) - 2)
    width = (quantiles[1:] - quantiles[:-1]).clamp_min(1e-12)
    slopes = (evidence[1:] - evidence[:-1]) / width
    inside = torch.minimum(torch.maximum(values, quantiles[0]), quantiles[-1])
    rise = (evidence[-1] - evidence[-TAIL_KNOTS]) / (
        quantiles[-1] - quantiles[-TAIL_KNOTS]
    ).clamp_min(1e-6)
    beyond = (values - quantiles[-1]).clamp_min(0.0) * rise
    return evidence[index] + (inside - quantiles[index]).clamp_min(0.0) * slopes[index] + beyond
