"""From one ONNX file to the files of each format and precision."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from omnial.errors import UserError
from omnial.export.graph import quiet
from omnial.inference.engines import needs_package
from omnial.model_folder.export_folder import MODEL_FILES, Format, Hint, Precision

PRECISIONS: Final[dict[Format, tuple[Precision, ...]]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
}
HINTS: Final[dict[Precision, Hint]] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "bf16"}
"""What OpenVINO is asked for in what is not quantized; without bf16 hardware it takes float32."""

_SMALLEST_HALVED = 256
"""Weights with fewer numbers are not worth a conversion when the network is loaded."""


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
) -> Path:
    """Write a network in a format and precision.

    - `fp32`: as it is.
    - `fp16`: weights in half precision, so half the size; the arithmetic is what the device has.
    - `bf16`: the same file as `fp32`; OpenVINO is asked to compute in bf16.
    - `int8`: static, weights per channel, activations per tensor, calibrated on images.

    Args:
        source: The ONNX file of `write_onnx`.
        format_: `onnx` or `openvino`.
        precision: One of `PRECISIONS[format_]`.
        folder: Where to write to; it must exist.
        images: For `int8`: (3, H, W) float32 network inputs of normal images.
        in_float: For `int8`: names of nodes that are not quantized.

    Returns:
        The file that an engine opens.
    """
    check_precision(format_, precision)
    path = folder / MODEL_FILES[format_][0]
    if precision == "int8":
        # As ONNX in any case: OpenVINO renames and fuses nodes, so that names would miss some.
        network = quantize(onnx.load(source), images, in_float)
        source = folder / "quantized.onnx"
        onnx.save(network, source)
    if format_ == "onnx":
        if precision == "fp16":
            onnx.save(halve_weights(onnx.load(source)), path)
        else:
            shutil.copyfile(source, path)
        return path
    with needs_package("OpenVINO", "omnial[export]"):
        import openvino
    converted = openvino.convert_model(source)
    openvino.save_model(converted, path, compress_to_fp16=precision == "fp16")
    return path


def quantize(
    network: onnx.ModelProto, images: Sequence[NDArray[np.float32]], in_float: Sequence[str]
) -> onnx.ModelProto:
    """Quantize a network to INT8 after training; see `build`.

    Symmetric weights per output channel, asymmetric activations, bias correction.
    """
    if not images:
        raise ValueError("INT8 needs images to calibrate on")
    with needs_package("NNCF", "omnial[export]"):
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
    graph = network.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < _SMALLEST_HALVED:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            helper.make_node("Cast", [f"{name}_half"], [name], f"{name}_cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return network
