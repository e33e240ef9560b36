"""Normality as a graph of its own, for programs that run an ONNX export without Python.

It takes what `model.onnx` gives, and gives the score map and score that count. Python computes the
same with NumPy (`omnial.models.normality`), also where this graph cannot: in windows, and for a
product that is not known.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from omnial.export.build import write_graph
from omnial.models.normality import HALF, LEAST, embedding_shape
from omnial.models.normality_network import Evidence
from omnial.models.scoring import image_score
from omnial.models.trained_model import TrainedModel

_EXAMPLES = 2


class NormalityGraph(nn.Module):
    """Scores of images of one product, from what the network gives for them."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        _, rows, columns = embedding_shape(model.settings)
        fitted = [model.normality[name] for name in model.classes]
        data = model.settings.data
        known = any(one.accepted.any() for one in fitted)
        size = (data.height, data.width) if known else (1, 1)
        self.evidence = Evidence(fitted, (rows, columns), size)
        self.rule = model.settings.model.image_score

    def forward(
        self, network_map: Tensor, embedding: Tensor, valid: Tensor, product: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score maps (B, H, W) and scores (B,) in [0, 1).

        Maps are (B, H, W) in [0, 1], embeddings (B, E, h, w), `valid` (B, H, W) is True where
        scores count; `product` (), int64, is the product's place among the model's classes.
        """
        odds = torch.logit(network_map, LEAST)
        evidence = self.evidence(odds, embedding.float(), product.long())
        maps = torch.where(valid, evidence / (evidence + HALF), 0.0)
        return maps, image_score(maps, valid, self.rule)


def write_normality(model: TrainedModel, path: Path) -> None:
    """Write the normality of all products of a model as ONNX in float32."""
    features, rows, columns = embedding_shape(model.settings)
    size = (model.settings.data.height, model.settings.data.width)
    examples = {
        "network_map": torch.full((_EXAMPLES, *size), 0.5),
        "embedding": torch.zeros(_EXAMPLES, features, rows, columns),
        "valid": torch.ones((_EXAMPLES, *size), dtype=torch.bool),
        "product": torch.zeros((), dtype=torch.int64),
    }
    write_graph(NormalityGraph(model).eval(), examples, ("score_map", "score"), path)
