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
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from omnial.config.settings import DataSettings, Settings
from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.data.records import Catalogue, ImageRecord
from omnial.errors import UserError
from omnial.evaluation.evaluate import Evaluation
from omnial.evaluation.result import FIGURES, EvaluationResult, write_metrics
from omnial.evaluation.sample import Sample
from omnial.metrics.ranking import Figures
from omnial.models.prediction import Prediction
from omnial.models.scoring import image_scores

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

    name = "z_score"

    def __init__(self, normal: Mapping[str, Normal]) -> None:
        self._normal = normal

    def standardize(self, sample: Sample) -> Sample:
        """The sample with its image in deviations from the mean of its class."""
        mean, deviation = self._normal[sample.record.class_name]
        return sample._replace(image=(as_unit(sample.image) - mean) / deviation)

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Score a batch of standardized images."""
        return _prediction(np.max(np.abs(images), axis=1), valid)

    def facts(self) -> dict[str, str]:
        """Nothing worth knowing."""
        return {}


class Gradient:
    """Squared Sobel gradient of the luma, averaged in a Gaussian window."""

    name = "gradient"

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Score a batch."""
        luma = np.einsum("bchw,c->bhw", images, _LUMA)
        energy = ndimage.sobel(luma, axis=1) ** 2 + ndimage.sobel(luma, axis=2) ** 2
        return _prediction(
            ndimage.gaussian_filter(energy, (0, GRADIENT_SIGMA, GRADIENT_SIGMA)), valid
        )

    def facts(self) -> dict[str, str]:
        """Nothing worth knowing."""
        return {}


def main(
    data: Annotated[
        list[Path], typer.Option(help="A folder with a folder a class, or one class's folder.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures, a folder a detector.")],
    height: Annotated[int, typer.Option(help="Rows of the images that are compared.")] = 256,
    width: Annotated[int, typer.Option(help="Columns of the images that are compared.")] = 256,
) -> None:
    settings = Settings(data=DataSettings(height=height, width=width, geometry="squash"))
    try:
        catalogue = discover(data, need="train")
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(width=140)
    for detector in detectors(catalogue, settings.data):
        evaluation = Evaluation(
            detector,
            settings,
            description={"detector": detector.name, "trivial": True},
            transform=detector.standardize if isinstance(detector, ZScore) else None,
        )
        result = evaluation.run(catalogue)
        write_metrics(result, out / detector.name)
        console.print(table(detector.name, result))


def detectors(catalogue: Catalogue, settings: DataSettings) -> tuple[ZScore, Gradient]:
    """Both detectors, the first one fitted to the training images."""
    normal = {product.name: learn(product.train, settings) for product in catalogue.classes}
    return ZScore(normal), Gradient()


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


def _prediction(maps: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
    maps = np.where(valid, maps, np.float32(0)).astype(np.float32)
    scores = image_scores(maps, valid, "top_mean")
    return Prediction(maps, scores)


if __name__ == "__main__":
    typer.run(main)
