"""Which layers INT8 may quantize: pixel AP on drawn defects, and speed, for several choices.

Defects are drawn onto the normal images that training kept for validation, see
`benchmarks.drawn_defects`; no test image has a say. Every choice is built for OpenVINO from the
same graph, and timed side by side on one image.

    python -m benchmarks.int8_layers --data DIR --model MODEL_DIR
"""

import os
import re
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.common import side_by_side
from benchmarks.drawn_defects import DETECTION, Found, Inspect, evaluate, of_model, split_images
from omnial.config.settings import Settings
from omnial.export.build import FLOAT_LAYERS, HINTS, build, float_nodes, write_onnx
from omnial.export.gate import from_data
from omnial.inference.engines import OpenVinoBackend
from omnial.model_folder.weights_file import load_model
from omnial.models.prediction import Backend, over_windows
from omnial.models.trained_model import TrainedModel

_HEADS: Final = r"reconstruction\.head|localization\.head"
_DECODER: Final = r"|reconstruction\.(up|decoder)\.\d+"
_COMPARING: Final = r"|neck\.(separate\.\d+|unified)\.0"
CHOICES: Final[Mapping[str, re.Pattern[str]]] = {
    "heads": re.compile(_HEADS),
    "heads, neck's first": re.compile(_HEADS + _COMPARING),
    "heads, decoder": re.compile(_HEADS + _DECODER),
    "heads, decoder, neck's first": re.compile(_HEADS + _DECODER + _COMPARING),
    "the same, encoder's first": re.compile(
        _HEADS + _DECODER + _COMPARING + r"|reconstruction\.encoder\.0"
    ),
    "all but localization": re.compile(
        _HEADS + r"|reconstruction\..*|neck\..*|localization\.encoder\.0\.0"
    ),
    "as exported": FLOAT_LAYERS,
}
"""What stays in float next to attention and everything that is no convolution."""


def main(
    data: Annotated[list[Path], typer.Option(help="The data that the model was trained on.")],
    model_dir: Annotated[Path, typer.Option("--model", help="The model folder.")],
    rounds: Annotated[int, typer.Option(help="Rounds of the timing.")] = 15,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = os.cpu_count() or 1,
) -> None:
    """Print a table of the choices."""
    model = load_model(model_dir, "cpu")
    split = split_images(data, model.settings)

    def figures(inspect: Inspect) -> NDArray[np.float64]:
        evaluated = [evaluate(inspect, own.kept, model.settings.data) for own in split.values()]
        return np.array([[found.figures[name] for name in DETECTION] for found in evaluated], float)

    heads = ("image AUROC", "pixel AUROC", "pixel AP", "largest loss of a class's AUROC, AP")
    table = Table("in float", "convolutions in int8", *heads, "times PyTorch's speed")
    rows: dict[str, tuple[str, NDArray[np.float64]]] = {
        "PyTorch, float32": ("-", figures(of_model(model)))
    }
    with tempfile.TemporaryDirectory() as name:
        engines, counts = _engines(model, data, Path(name), threads)
        for label, engine in engines.items():
            rows[label] = (str(counts[label]), figures(_of_engine(engine, model.settings)))
        size = (model.settings.data.height, model.settings.data.width)
        image, valid = np.full((1, 3, *size), 0.5, np.float32), np.ones((1, *size), np.bool_)
        inspect = of_model(model)
        works: dict[str, Callable[[], object]] = {"PyTorch, float32": lambda: inspect(image)}
        works |= {label: _work(engine, image, valid) for label, engine in engines.items()}
        times = {n: statistics.median(taken) for n, taken in side_by_side(works, rounds).items()}
    exact = rows["PyTorch, float32"][1]
    for label, (count, classes) in rows.items():
        speed = times["PyTorch, float32"] / times[label]
        means = (f"{100 * value:.2f}" for value in classes.mean(axis=0))
        lost = 100 * (exact - classes).max(axis=0)
        losses = f"{lost[0]:.2f}, {lost[2]:.2f}"
        table.add_row(label, count, *means, losses, f"{speed:.2f}")
    Console(width=140).print(table)


def _engines(
    model: TrainedModel, data: list[Path], folder: Path, threads: int
) -> tuple[dict[str, Backend], dict[str, int]]:
    """bf16 and every choice of INT8, with the number of quantized convolutions."""
    source = folder / "source.onnx"
    write_onnx(model, source)
    shown = from_data(data, model, 2).calibration
    plain = folder / "bf16"
    plain.mkdir()
    path = build(source, "openvino", "bf16", plain)
    engines: dict[str, Backend] = {"bf16": OpenVinoBackend(path, "cpu", threads, "bf16")}
    counts = {"bf16": 0}
    everything = set(float_nodes(source, model.network, re.compile(".*")))
    for index, (label, layers) in enumerate(CHOICES.items()):
        target = folder / str(index)
        target.mkdir()
        in_float = float_nodes(source, model.network, layers)
        path = build(source, "openvino", "int8", target, images=shown, in_float=in_float)
        engines[label] = OpenVinoBackend(path, "cpu", threads, HINTS["int8"])
        counts[label] = len(everything - set(in_float))
    return engines, counts


def _of_engine(engine: Backend, settings: Settings) -> Inspect:
    def inspect(images: NDArray[np.float32]) -> Found:
        valid = np.ones((len(images), *images.shape[2:]), np.bool_)
        found = over_windows(engine.run, images, valid, settings)
        return Found(found.scores, found.score_maps, None)

    return inspect


def _work(
    engine: Backend, image: NDArray[np.float32], valid: NDArray[np.bool_]
) -> Callable[[], object]:
    return lambda: engine.run(image, valid)


if __name__ == "__main__":
    typer.run(main)
