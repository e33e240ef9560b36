"""The evidence of network and normality together in PyTorch, with gradients.

For attacks, since one that did not see the normality would be no attack on the model; and for
programs that have an exported graph and no Python. The formulas are those of
`omnial.models.normality`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.models.normality import HALF, LEAST, Normality, reach
from omnial.models.position_gaussian import (
    EVIDENCE,
    GAUSSIAN_ARRAYS,
    TAIL_KNOTS,
    PositionGaussian,
    enlarged,
    on_grid,
)
from omnial.models.system import Output
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel

_ODDS = math.log(1.0 / LEAST - 1.0)  # largest log odds
_SMALL = 1e-6


class Evidence(nn.Module):
    """Evidence of all witnesses against each pixel of images of one of P products.

    Args:
        fitted: Normality of each product; at least one.
        grid: Rows and columns of the cells of an embedding.
        accepted: Rows and columns that accepted evidence is kept in: those of the only product's,
            or the pixels of an image.
    """

    def __init__(
        self, fitted: Sequence[Normality], grid: tuple[int, int], accepted: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.grid = grid
        quantiles = torch.from_numpy(np.stack([one.network_quantiles for one in fitted]))
        self.register_buffer("network_quantiles", quantiles, persistent=False)
        pretrained = [one.pretrained for one in fitted if one.pretrained is not None]
        kinds = {"normality": [one.own for one in fitted], "pretrained": pretrained}
        self.looks = nn.ModuleDict({k: _Look(known, grid) for k, known in kinds.items() if known})
        self.features = [known[0].center.size for known in kinds.values() if known]
        weights = torch.from_numpy(np.stack([one.weights for one in fitted]))
        self.register_buffer("weights", weights, persistent=False)
        levels = np.concatenate([enlarged(one.accepted[None], *accepted) for one in fitted])
        self.register_buffer("accepted", torch.from_numpy(levels), persistent=False)

    def forward(self, odds: Tensor, embedding: Tensor, product: Tensor) -> Tensor:
        """Evidence (B, H, W) of at least 0.

        `odds` is (B, H, W), the network's log odds of an anomaly; `embedding` (B, E, h, w), of
        another grid it is left out; `product` () int64, below P.
        """
        quantiles = self.get_buffer("network_quantiles")[product]
        network = _tail(odds.clamp(-_ODDS, _ODDS), quantiles)
        mine, *others = self.get_buffer("weights")[product].unbind()
        evidence: Tensor = mine * network
        if embedding.shape[-2:] != self.grid:
            return evidence
        window = reach(odds.shape[-2:], embedding.shape[-2:])
        highest = F.max_pool2d(network[:, None], window, 1, [edge // 2 for edge in window])[:, 0]
        share = ((network + HALF) / (highest + HALF)).square()
        parts = torch.split(embedding, self.features, 1)
        for look, weight, part in zip(self.looks.values(), others, parts, strict=True):
            evidence = evidence + weight * share * look(part, product, odds.shape[-2:])
        accepted = self.get_buffer("accepted")[product][None, None]
        return F.relu(evidence - _enlarged(accepted, odds.shape[-2:])[:, 0])


class _Look(nn.Module):
    """The `PositionGaussian` of each product, on one grid of cells."""

    def __init__(self, known: Sequence[PositionGaussian], grid: tuple[int, int]) -> None:
        super().__init__()
        components = max(len(one.basis) for one in known)
        counts = torch.tensor([float(len(one.basis)) for one in known])
        self.register_buffer("components", counts, persistent=False)
        for name in GAUSSIAN_ARRAYS:
            arrays = [getattr(one, name) for one in known]
            if name in {"mean", "deviation"}:
                arrays = [on_grid(array, *grid) for array in arrays]
            if name in {"mean", "deviation", "basis"}:
                # Components that a product does not have are 0 everywhere.
                filled = np.ones if name == "deviation" else np.zeros
                lacking = [filled((components - len(a), *a.shape[1:]), np.float32) for a in arrays]
                arrays = [np.concatenate(pair) for pair in zip(arrays, lacking, strict=True)]
            self.register_buffer(name, torch.from_numpy(np.stack(arrays)), persistent=False)

    def forward(self, features: Tensor, product: Tensor, size: torch.Size) -> Tensor:
        """Evidence (B, H, W) from features (B, E, h, w) of a product."""
        own = {name: getattr(self, name)[product] for name in (*GAUSSIAN_ARRAYS, "components")}
        centred = features - own["center"][:, None, None]
        components = torch.einsum("de,behw->bdhw", own["basis"], centred)
        standard = (components - own["mean"]) / own["deviation"]
        distances = torch.sqrt(standard.square().sum(1) / own["components"] + _SMALL**2)
        cells = _tail(distances, own["distance_quantiles"])[:, None]
        return _enlarged(cells, size)[:, 0]


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
        rows, columns = normality.own.mean.shape[1:]
        evidence = Evidence([normality], (rows, columns), normality.accepted.shape)
        self.evidence = evidence.to(next(network.parameters()).device)

    def forward(self, images: Tensor) -> Output:
        """Forward pass of images (B, 3, H, W) in [0, 1]; in eval mode alone."""
        output: Output = self.network(images)
        assert output.embedding is not None
        logits = output.logits.float()
        first = torch.zeros((), dtype=torch.int64, device=images.device)
        odds = logits[:, 1] - logits[:, 0]
        score = torch.log(self.evidence(odds, output.embedding.float(), first) + _SMALL)
        score = score - np.log(HALF)
        return output._replace(logits=torch.stack((torch.zeros_like(score), score), 1))


def for_product(model: TrainedModel, class_name: str) -> TrainedModel:
    """The model as it decides about a product: with its normality in the network."""
    own = model.normality.get(class_name)
    if own is None:
        return model
    return replace(model, network=NormalityNetwork(model.network, own), normality={})


def backends(model: TrainedModel) -> Callable[[str], TorchBackend]:
    """PyTorch as an engine for the images of each product, with its normality."""
    return lambda class_name: TorchBackend(for_product(model, class_name))


def _enlarged(cells: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(cells, size, mode="bilinear", align_corners=False)


def _tail(values: Tensor, quantiles: Tensor) -> Tensor:
    """-log10 of the share of normal values beyond, piecewise linear: see `normality`."""
    evidence = torch.as_tensor(EVIDENCE, dtype=torch.float32, device=values.device)
    widths = quantiles.diff()
    slopes = evidence.diff() / widths.clamp_min(1e-12)
    run = (quantiles[-1] - quantiles[-TAIL_KNOTS]).clamp_min(1e-6)
    beyond = (values - quantiles[-1]).clamp_min(0.0) * (evidence[-1] - evidence[-TAIL_KNOTS]) / run
    covered = torch.minimum((values[..., None] - quantiles[:-1]).clamp_min(0.0), widths)
    return beyond + (slopes * covered).sum(-1)
