"""Two trivial detectors, evaluated just as a model is: the floor that a model must clear.

- `z_score`: the difference to the mean training image of the class, divided by its deviation.
- `gradient`: the energy of the local luma gradient; nothing is learnt.

Both score an image by the mean of the map's highest pixels, as a model does, and each writes the
same metrics.json and metrics.csv, into its own folder.

    python benchmarks/trivial.py --data DIR --out DIR
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.data.records import Catalogue, ImageRecord
from omnial.errors import UserError
from omnial.evaluation.detector import Detection, Detector
from omnial.evaluation.evaluate import evaluate_detector, write_metrics
from omnial.evaluation.result import FIGURES, EvaluationResult
from omnial.metrics.means import Figures
from omnial.models.scoring import image_score

LEAST_DEVIATION = 0.02
"""Floor of the per-pixel deviation: 5 of 255 grey levels, about the noise of a camera."""
GRADIENT_SIGMA = 2.0
"""Sigma in pixels of the Gaussian window over which the gradient's energy is averaged."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Normal(NamedTuple):
    """A class's training images: mean and deviation of every value, (3, H, W) float32 each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def learn(records: tuple[ImageRecord, ...], settings: DataSettings) -> Normal:
    """Mean and standard deviation of each value over the training images of one class."""
    total = np.zeros((3, settings.height, settings.width))
    squares = np.zeros_like(total)
    for record in records:
        image = as_unit(network_input(record.path, settings)[0]).astype(np.float64)
        total += image
        squares += image**2
    mean = total / len(records)
    variance = np.maximum(squares / len(records) - mean**2, LEAST_DEVIATION**2)
    return Normal(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))


class ZScore:
    """|image - mean| / deviation, the largest of the three channels."""

    def __init__(self, normal: Mapping[str, Normal]) -> None:
        self._normal = normal

    def detect(
        self, images: NDArray[np.float32], valid: NDArray[np.bool_], class_name: str
    ) -> Detection:
        """Score a batch of one class."""
        mean, deviation = self._normal[class_name]
        return _detection(np.max(np.abs(images - mean) / deviation, axis=1), valid)


class Gradient:
    """Squared Sobel gradient of the luma, averaged in a Gaussian window."""

    def detect(
        self, images: NDArray[np.float32], valid: NDArray[np.bool_], class_name: str
    ) -> Detection:
        """Score a batch; the class is of no concern."""
        luma = np.einsum("bchw,c->bhw", images, _LUMA)
        energy = ndimage.sobel(luma, axis=1) ** 2 + ndimage.sobel(luma, axis=2) ** 2
        return _detection(
            ndimage.gaussian_filter(energy, (0, GRADIENT_SIGMA, GRADIENT_SIGMA)), valid
        )


def main(
    data: Annotated[
        list[Path], typer.Option(help="A folder with a folder a class, or one class's folder.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures, a folder a detector.")],
    height: Annotated[int, typer.Option(help="Rows of the images that are compared.")] = 256,
    width: Annotated[int, typer.Option(help="Columns of the images that are compared.")] = 256,
) -> None:
    settings = DataSettings(height=height, width=width, geometry="squash")
    try:
        catalogue = discover(data, need="train")
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(width=140)
    for name, detector in detectors(catalogue, settings).items():
        result = evaluate_detector(
            detector, catalogue, settings, description={"detector": name, "trivial": True}
        )
        write_metrics(result, out / name)
        console.print(table(name, result))


def detectors(catalogue: Catalogue, settings: DataSettings) -> dict[str, Detector]:
    """Both detectors by name, the first one fitted to the training images."""
    normal = {product.name: learn(product.train, settings) for product in catalogue.classes}
    return {"z_score": ZScore(normal), "gradient": Gradient()}


def table(name: str, result: EvaluationResult) -> Table:
    """The figures of one detector, a row a class."""
    rows = Table(title=f"{name} ({result.seconds:.0f} s)")
    rows.add_column("class")
    shown = [figure for figure in FIGURES if result.mean_over[figure]]
    for figure in shown:
        rows.add_column(figure, justify="right")

    def add(label: str, figures: Figures) -> None:
        values = (figures[figure] for figure in shown)
        rows.add_row(label, *("-" if value is None else f"{value:.4f}" for value in values))

    for row in result.classes:
        add(row.name, row.figures)
    rows.add_section()
    add("mean", result.mean)
    rows.add_row("over", *(str(result.mean_over[figure]) for figure in shown))
    return rows


def _detection(maps: NDArray[np.float32], valid: NDArray[np.bool_]) -> Detection:
    maps = np.where(valid, maps, np.float32(0)).astype(np.float32)
    scores = image_score(torch.from_numpy(maps), torch.from_numpy(valid))
    return Detection(maps, scores.numpy().astype(np.float64))


if __name__ == "__main__":
    typer.run(main)
