"""One image through every engine and precision, as ratios to PyTorch in float32 in the same run.

Random weights and a batch of one: speed does not depend on what was learnt. OpenVINO gets its
precision each time, since its own default is bf16 where the processor has it. Every engine gets
the same number of threads.

    python -m benchmarks.inference --size lite --rounds 15
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.common import Entries, entries, ratio, report, side_by_side
from omnial.config.load import load_settings
from omnial.export.build import HINTS, ExportedNetwork, build, float_nodes, write_onnx
from omnial.inference.engines import OnnxBackend, OpenVinoBackend
from omnial.machine import available_cores
from omnial.model_folder.export_folder import Hint, Precision
from omnial.models.channels_last import to_channels_last
from omnial.models.prediction import Backend
from omnial.models.recogniser import Recogniser
from omnial.models.system import build_model
from omnial.models.thresholds import calibrate
from omnial.models.trained_model import TrainedModel

EDGE = 256
PLAN: dict[str, int] = {"lite": 15, "base": 7, "paper": 3}
"""Rounds of each size that `make bench` measures."""
_QUICK: dict[str, int] = {"tiny": 1}
_MAIN_SIZE = "lite"
_CALIBRATION_IMAGES = 8
_BARE, _BARE_WIDTH, _BARE_ROUNDS = 8, 128, 25
_BARE_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
Work = Callable[[], object]


def random_model(size: str, edge: int = EDGE) -> TrainedModel:
    """A model with fresh weights that has learnt nothing."""
    overrides = [f"data.height={edge}", f"data.width={edge}"]
    settings = load_settings(size=size, overrides=overrides)
    network = to_channels_last(build_model(settings.model).eval())
    features = np.arange(2.0)[:, np.newaxis]
    return TrainedModel(
        settings=settings,
        classes=("part",),
        network=network,
        calibration=calibrate({"part": np.arange(20) / 20}, 0.5, 0.05),
        recogniser=Recogniser.fit(features, np.zeros(2, int), ["part"]),
        rois={},
        training={},
    )


def works(size: str, edge: int, folder: Path, threads: int) -> dict[str, Work]:
    """The engines by name, each ready to inspect the same image."""
    model = random_model(size, edge)
    random = np.random.default_rng(0)
    images = random.random((1, 3, edge, edge), np.float32)
    valid = np.ones((1, edge, edge), np.bool_)
    source = folder / "source.onnx"
    write_onnx(model, source)
    in_float = float_nodes(source, model.network)
    shown = [random.random((3, edge, edge), np.float32) for _ in range(_CALIBRATION_IMAGES)]
    xml, int8, onnx_int8 = (folder / name for name in ("fp32", "int8", "onnx_int8"))
    for part in (xml, int8, onnx_int8):
        part.mkdir()
    build(source, "openvino", "fp32", xml)
    build(source, "openvino", "int8", int8, images=shown, in_float=in_float)
    build(source, "onnx", "int8", onnx_int8, images=shown, in_float=in_float)

    def openvino(path: Path, hint: Hint) -> Backend:
        return OpenVinoBackend(path / "model.xml", "cpu", threads, hint)

    engines: dict[str, Backend] = {
        "onnxruntime_fp32": OnnxBackend(source, "cpu", threads),
        "onnxruntime_int8": OnnxBackend(onnx_int8 / "model.onnx", "cpu", threads),
        "openvino_fp32": openvino(xml, "f32"),
        "openvino_bf16": openvino(xml, "bf16"),
        "openvino_int8_and_fp32": openvino(int8, "f32"),
        "openvino_int8": openvino(int8, HINTS["int8"]),
    }
    rule = model.settings.model.image_score
    network = ExportedNetwork(model.network, reconstruction=False, rule=rule)
    tensors = torch.from_numpy(images), torch.from_numpy(valid)

    def eager(bf16: bool) -> Work:
        def run() -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return network(*tensors)

        return run

    def exported(engine: Backend) -> Work:
        return lambda: engine.run(images, valid)

    return {
        "torch_fp32": eager(False),
        "torch_bf16": eager(True),
        **{name: exported(engine) for name, engine in engines.items()},
    }


class Convolutions(torch.nn.Module):
    """3x3 convolutions alone, the arithmetic that the network mostly consists of."""

    def __init__(self) -> None:
        super().__init__()
        layers = [torch.nn.Conv2d(_BARE_WIDTH, _BARE_WIDTH, 3, padding=1) for _ in range(_BARE)]
        first = torch.nn.Conv2d(3, _BARE_WIDTH, 4, stride=4)
        self.layers = torch.nn.Sequential(first, *layers)

    def forward(self, images: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Both inputs reach an output, as in an exported network."""
        return self.layers(images).mean((2, 3)), valid.float().mean((1, 2))


def bare_convolutions(rounds: int, edge: int, threads: int) -> Entries:
    """What OpenVINO makes of convolutions alone: the bound that the processor's arithmetic sets."""
    random = np.random.default_rng(0)
    images = random.random((1, 3, edge, edge), np.float32)
    valid = np.ones((1, edge, edge), np.bool_)
    works: dict[str, Work] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.onnx"
        torch.onnx.export(
            Convolutions().eval(),
            (torch.from_numpy(images), torch.from_numpy(valid)),
            source,
            dynamo=True,
            input_names=["images", "valid"],
            verbose=False,
        )
        for precision in _BARE_PRECISIONS:
            target = folder / precision
            target.mkdir()
            path = build(source, "openvino", precision, target, images=[images[0]])
            feed = {"images": images, "valid": valid}
            works[precision] = _compiled(path, HINTS[precision], threads, feed)
        times = side_by_side(works, rounds)
    command = "python -m benchmarks.inference"
    return entries(
        command,
        {
            f"inference_bare_convolutions_openvino_{name}_vs_fp32": (
                ratio(times["fp32"], times[name]),
                "ratio",
            )
            for name in ("bf16", "int8")
        },
    )


def _compiled(path: Path, hint: Hint, threads: int, feed: dict[str, Any]) -> Work:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    return lambda: request.infer(feed)


def measure_size(size: str, rounds: int, edge: int, threads: int) -> Entries:
    """The figures of one size."""
    command = f"python -m benchmarks.inference --size {size} --rounds {rounds}"
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        times = side_by_side(works(size, edge, Path(folder), threads), rounds)
    suffix = "" if size == _MAIN_SIZE else f"_{size}"
    base = times["torch_fp32"]
    figures = {
        f"inference_{name}_vs_torch_fp32{suffix}": (ratio(base, taken), "ratio")
        for name, taken in times.items()
        if name != "torch_fp32"
    }
    milliseconds = 1000.0 * statistics.median(base)
    figures[f"inference_torch_fp32_time_per_image{suffix}"] = (milliseconds, "ms")
    return entries(command, figures)


def main(
    size: Annotated[
        list[str] | None, typer.Option(help="Sizes; may be repeated. Default: lite, base, paper.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds, where a size is named.")] = 7,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = available_cores(),
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    plan = dict.fromkeys(size, rounds) if size else _QUICK if quick else PLAN
    edge = 64 if quick else EDGE
    found: Entries = {}
    for name, count in plan.items():
        found |= measure_size(name, count, edge, threads)
    found |= bare_convolutions(_BARE_ROUNDS if not quick else 1, edge, threads)
    report("Inference", found, out)


if __name__ == "__main__":
    typer.run(main)
