"""From a model to one ONNX graph, and from that to the files of each format and precision."""

import ast
import copy
import logging
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from omnial.config.settings import ImageScore
from omnial.errors import UserError
from omnial.inference.engines import PORTS, needs_package
from omnial.model_folder.export_folder import MODEL_FILES, Format, Hint, Precision
from omnial.models.attention import (
    BottleneckBlock,
    ChannelAttention,
    DilatedSpatialAttention,
    ResidualBlock,
)
from omnial.models.scoring import image_score, score_map
from omnial.models.trained_model import TrainedModel

PRECISIONS: Final[dict[Format, tuple[Precision, ...]]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}
HINTS: Final[dict[Precision, Hint]] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "bf16"}
"""What OpenVINO is asked for in what is not quantized; without bf16 hardware it takes float32."""

_FLOAT_MODULES = (ChannelAttention, DilatedSpatialAttention, ResidualBlock, BottleneckBlock)
"""Modules that stay in float when the rest is quantized: small, and they gate everything."""
FLOAT_LAYERS: Final = re.compile(
    r"(reconstruction|neck|pretrained)\..*|localization\.(encoder\.0\..*|head)"
)
"""Layers that stay in float as well, by measurement (`benchmarks/int8_layers.py`): what makes the
reconstructed image, what compares it with the input, and the localization's first scale. Eight
bits hide a difference of a few grey levels."""
_QUANTIZED = ("Conv", "ConvTranspose")
_SCOPES = "pkg.torch.onnx.name_scopes"
_EXAMPLES = 2
"""Images of the example batch: a size of 1 would be taken for a constant."""
_SMALLEST_HALVED = 256
"""Weights with fewer numbers are not worth a conversion when the network is loaded."""


class ExportedNetwork(nn.Module):
    """The network with softmax and score in one graph: what an export computes."""

    def __init__(self, network: nn.Module, reconstruction: bool, rule: ImageScore) -> None:
        super().__init__()
        self.network = network
        self.rule: ImageScore = rule
        self.reconstruction = reconstruction

    def forward(self, images: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Score maps (B, H, W), scores (B,), and what else is wanted.

        That is the embedding (B, E, h, w) and the reconstruction (B, 3, H, W). Images are
        (B, 3, H, W) float32 in [0, 1], `valid` (B, H, W) is True where scores count.
        """
        output = self.network(images)
        maps = torch.where(valid, score_map(output.logits), 0.0)
        found: list[Tensor] = [maps, image_score(maps, valid, self.rule)]
        if output.embedding is not None:
            found.append(output.embedding)
        if self.reconstruction:
            found.append(output.reconstruction.clamp(0.0, 1.0))
        return tuple(found)


def write_onnx(model: TrainedModel, path: Path, *, reconstruction: bool = False) -> None:
    """Write a model's network as ONNX in float32, for any number of images at once.

    The model is on the CPU. Instance norm becomes ONNX's own operator; weights lie in the file.
    """
    size = (model.settings.data.height, model.settings.data.width)
    rule = model.settings.model.image_score
    absent = {"embedding"} if model.settings.model.normality == "none" else set[str]()
    absent |= set() if reconstruction else {"reconstruction"}
    network = ExportedNetwork(copy.deepcopy(model.network), reconstruction, rule).eval()
    images = torch.full((_EXAMPLES, 3, *size), 0.5)
    valid = torch.ones((_EXAMPLES, *size), dtype=torch.bool)
    outputs = [name for name in PORTS[2:] if name not in absent]
    write_graph(network, {"images": images, "valid": valid}, outputs, path)


def write_graph(
    network: nn.Module, examples: Mapping[str, Tensor], outputs: Sequence[str], path: Path
) -> None:
    """Write a module as ONNX, for any number of images at once.

    `examples` are its inputs by name: tensors of a batch, and scalars that all its images share.
    """
    batch = {0: torch.export.Dim("batch")}
    with quiet("torch.onnx"):
        program = torch.onnx.export(
            network,
            tuple(examples.values()),
            dynamo=True,
            dynamic_shapes={k: batch if example.ndim else None for k, example in examples.items()},
            input_names=list(examples),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter gave no program")
    program.save(path, external_data=False)


def float_nodes(
    path: Path, network: nn.Module, layers: re.Pattern[str] = FLOAT_LAYERS
) -> list[str]:
    """Nodes of a graph of `write_onnx` that stay in float when the rest is quantized.

    Convolutions are quantized, but not in attention and in modules whose names match `layers`.
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


def check_precision(format_: Format, precision: Precision) -> None:
    """Refuse a precision that a format does not have."""
    if precision not in PRECISIONS[format_]:
        raise UserError(
            f"{format_} has no {precision}: it is a choice of OpenVINO's arithmetic. Take "
            f"--format openvino, or one of {', '.join(PRECISIONS[format_])}."
        )


def build(
    source: Path,
    format_: Format,
    precision: Precision,
    folder: Path,
    *,
    images: Sequence[NDArray[np.float32]] = (),
    in_float: Sequence[str] = (),
    pretrained: bool = False,
) -> Path:
    """Write a network in a format and precision into a folder: the file that an engine opens.

    - `fp32`: as it is.
    - `fp16`: weights in half precision, so half the size; the arithmetic is what the device has.
    - `bf16`: the same file as `fp32`; OpenVINO is asked to compute in bf16.
    - `int8`: static, weights per channel, activations per tensor, calibrated on `images`, (3, H, W)
      float32 network inputs of normal images; nodes named in `in_float` are not quantized.

    OpenVINO computes the features of a network with `pretrained` ones in float32 in any case:
    evidence in the tail of a distribution would not survive the rounding of bf16.

    `source` is the ONNX file of `write_onnx`.
    """
    path = folder / MODEL_FILES[format_][0]
    if precision == "int8":
        # As ONNX in any case: OpenVINO renames and fuses nodes, so that names would miss some.
        network = _quantize(onnx.load(source), images, in_float)
        source = folder / "quantized.onnx"
        onnx.save(network, source)
    if format_ == "onnx":
        if precision == "fp16":
            onnx.save(halve_weights(onnx.load(source)), path)
        else:
            shutil.copyfile(source, path)
        return path
    with needs_package("OpenVINO", ".[export]"):
        import openvino
    converted = openvino.convert_model(source)
    openvino.save_model(converted, path, compress_to_fp16=precision == "fp16")
    if pretrained:
        _keep_pretrained_exact(path)
    return path


def _keep_pretrained_exact(path: Path) -> None:
    """Mark what pretrained features are computed by, so that no hint lowers its precision.

    Python's openvino has no call for this mark (`ov::DisableFP16Compression`); its file format has.
    """
    import openvino

    embedding = openvino.Core().read_model(path).output("embedding").get_node()
    own_and_pretrained = embedding.input_value(0).get_node()
    todo = [own_and_pretrained.input_values()[-1].get_node()]
    exact = set[str]()
    while todo:
        node = todo.pop()
        if node.get_friendly_name() not in exact:
            exact.add(node.get_friendly_name())
            todo += [value.get_node() for value in node.input_values()]
    tree = ElementTree.parse(path)
    for layer in tree.iter("layer"):
        if layer.get("name") in exact and layer.get("type") not in {"Parameter", "Const"}:
            info = layer.find("rt_info")
            info = ElementTree.SubElement(layer, "rt_info") if info is None else info
            ElementTree.SubElement(info, "attribute", name="precise", version="0")
    tree.write(path)


def _quantize(
    network: onnx.ModelProto, images: Sequence[NDArray[np.float32]], in_float: Sequence[str]
) -> onnx.ModelProto:
    """Symmetric weights per output channel, asymmetric activations, bias correction."""
    with needs_package("NNCF", ".[export]"):
        import nncf
    valid = np.ones((1, *images[0].shape[1:]), np.bool_)
    with quiet("nncf"):
        quantized: onnx.ModelProto = nncf.quantize(
            network,
            nncf.Dataset(list(images), lambda image: {"images": image[None], "valid": valid}),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=list(in_float), validate=False),
        )
    return quantized


def halve_weights(network: onnx.ModelProto) -> onnx.ModelProto:
    """Store float32 weights as float16, with a conversion back behind each.

    Runtimes do that conversion once, when the network is loaded.
    """
    casts = []
    for weight in network.graph.initializer:
        values, name = numpy_helper.to_array(weight), weight.name
        if values.dtype == np.float32 and values.size >= _SMALLEST_HALVED:
            half = f"{name}_half"
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
            casts.append(
                helper.make_node("Cast", [half], [name], f"{name}_cast", to=TensorProto.FLOAT)
            )
    nodes = [*casts, *network.graph.node]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    return network


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
