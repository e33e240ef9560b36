"""The network with softmax and score in one graph, written as ONNX."""

import ast
import copy
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx
import torch
from torch import Tensor, nn

from omnial.config.settings import ImageScore
from omnial.models.appearance import appearance
from omnial.models.attention import (
    BottleneckBlock,
    ChannelAttention,
    DilatedSpatialAttention,
    ResidualBlock,
)
from omnial.models.scoring import image_score, score_map
from omnial.models.trained_model import TrainedModel

_FLOAT_MODULES = (ChannelAttention, DilatedSpatialAttention, ResidualBlock, BottleneckBlock)
"""Modules that stay in float when the rest is quantized: small, and they gate everything."""
FLOAT_LAYERS: Final = re.compile(r"reconstruction\..*|neck\..*|localization\.(encoder\.0\..*|head)")
"""Layers that stay in float as well, by measurement (`benchmarks/int8_layers.py`): what makes the
reconstructed image, what compares it with the input, and the localization's first scale. Eight
bits hide a difference of a few grey levels."""
_QUANTIZED = ("Conv", "ConvTranspose")
_SCOPES = "pkg.torch.onnx.name_scopes"
_EXAMPLES = 2
"""Images of the example batch: a size of 1 would be taken for a constant."""


class ExportedNetwork(nn.Module):
    """What an export folder computes: a batch to score maps, scores and features."""

    def __init__(self, network: nn.Module, reconstruction: bool, rule: ImageScore) -> None:
        super().__init__()
        self.network = network
        self.rule: ImageScore = rule
        self.reconstruction = reconstruction

    def forward(self, images: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Predict.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
            valid: (B, H, W) bool, True where scores count.

        Returns:
            (B, H, W) score maps, (B,) scores, (B, F) features, and (B, 3, H, W) in [0, 1].
        """
        output = self.network(images)
        maps = torch.where(valid, score_map(output.logits), 0.0)
        found = (maps, image_score(maps, valid, self.rule), appearance(images))
        return (*found, output.reconstruction.clamp(0.0, 1.0)) if self.reconstruction else found


def output_names(reconstruction: bool) -> list[str]:
    """Names of the outputs, in order."""
    return ["score_map", "score", "features", *(["reconstruction"] if reconstruction else [])]


def write_onnx(model: TrainedModel, path: Path, *, reconstruction: bool = False) -> None:
    """Write a model's network as ONNX in float32, for any number of images at once.

    Instance norm becomes ONNX's own operator: while a graph is captured, its module takes the
    plain path instead of the channels-last kernels that training uses. Weights lie inside the
    file; the model is on the CPU.
    """
    size = (model.settings.data.height, model.settings.data.width)
    rule = model.settings.model.image_score
    network = ExportedNetwork(copy.deepcopy(model.network), reconstruction, rule).eval()
    images = torch.full((_EXAMPLES, 3, *size), 0.5)
    valid = torch.ones((_EXAMPLES, *size), dtype=torch.bool)
    batch = torch.export.Dim("batch")
    with quiet("torch.onnx"):
        program = torch.onnx.export(
            network,
            (images, valid),
            dynamo=True,
            dynamic_shapes={"images": {0: batch}, "valid": {0: batch}},
            input_names=["images", "valid"],
            output_names=output_names(reconstruction),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter gave no program")
    program.save(path, external_data=False)


def float_nodes(
    path: Path, network: nn.Module, layers: re.Pattern[str] = FLOAT_LAYERS
) -> list[str]:
    """Nodes of a graph of `write_onnx` that stay in float when the rest is quantized.

    Only convolutions are quantized, and of these not the ones in attention and in modules whose
    whole names `layers` matches.
    """
    in_float = {
        f"network.{name}"
        for name, module in network.named_modules()
        if isinstance(module, _FLOAT_MODULES) or layers.fullmatch(name)
    }
    names = []
    for node in onnx.load(path).graph.node:
        # Paths of the modules that the node stands in, which the exporter writes down.
        texts = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
        scopes = set(ast.literal_eval(texts[0])) if texts else set()
        if node.op_type not in _QUANTIZED or "network" not in scopes or scopes & in_float:
            names.append(node.name)
    return names


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Without a library's remarks about its own workings."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
