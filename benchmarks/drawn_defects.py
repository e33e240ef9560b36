"""Compare settings on validation images: train, then score defects drawn onto unseen good images.

The training synthesis cannot evaluate itself, and test images are for the final figure alone. So
this draws the families of `omnial.synthesis.unseen_defects`, otherwise than the training synthesis
does, onto the normal images that training kept for validation, and looks at what the
reconstruction makes of both. The scores of these normal images next to those of as many training
images say whether the network has learned its images by heart.

    python -m benchmarks.drawn_defects --data DIR --steps 160 --set training.learning_rate=1e-3
    python -m benchmarks.drawn_defects --data DIR --model MODEL_DIR

A model that is evaluated must have been trained on the same data, so that the same images were
held out.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from zlib import crc32

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from omnial.config.load import load_settings
from omnial.config.settings import DataSettings, Settings
from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.data.records import ImageRecord, split_validation
from omnial.metrics.psnr_ssim import defect_distances, erased, psnr
from omnial.metrics.ranking import Figures, auroc, average_precision, count, mean_figures
from omnial.model_folder.weights_file import load_model
from omnial.models.torch_backend import predict_batch
from omnial.models.trained_model import TrainedModel
from omnial.synthesis.unseen_defects import CHANGE, FAMILIES, Material, draw_defect
from omnial.training.fit import train

COPIES = 4
"""Defective copies of each validation image, one family after the other."""
DETECTION = ("image_auroc", "pixel_auroc", "pixel_ap")
FIGURES = (*DETECTION, "psnr", "erased")
"""Names of the figures of a class."""
OF_FAMILY = (*DETECTION, "erased")
"""Those of a family; `psnr` is of the good images."""
NORMALITY = ("score_median", "score_95", "psnr")
"""Names of the figures of good images; `score_95` is the 95 % quantile."""


class Found(NamedTuple):
    """What is said about a batch."""

    scores: NDArray[np.float64]
    """(B,)."""
    score_maps: NDArray[np.float32]
    """(B, H, W)."""
    reconstruction: NDArray[np.float32] | None
    """(B, 3, H, W) in [0, 1]; None where nothing is reconstructed."""


Inspect = Callable[[NDArray[np.float32]], Found]
"""A batch (B, 3, H, W) in [0, 1] to what is found."""


class Split(NamedTuple):
    """The normal images of a class."""

    learned: list[ImageRecord]
    kept: list[ImageRecord]


class Evaluated(NamedTuple):
    """The figures of one class."""

    figures: Figures
    """A value for each of `FIGURES`, over all families."""
    families: Mapping[str, Figures]
    """The same against the defects of one family alone, without `psnr`."""


class _Sample(NamedTuple):
    """One image with what was found on it; `family` is None for a good one."""

    family: str | None
    score: float
    score_map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    left: float
    drawn: float


def of_model(model: TrainedModel) -> Inspect:
    """Inspect with a trained model."""

    def inspect(images: NDArray[np.float32]) -> Found:
        found = predict_batch(model.network, images, rule=model.settings.model.image_score)
        return Found(found.scores, found.score_maps, found.reconstruction)

    return inspect


def split_images(data: list[Path], settings: Settings) -> dict[str, Split]:
    """The images of each class that training learns from, and those that it keeps back."""
    records = [r for product in discover(data, need="train").classes for r in product.train]
    parts = split_validation(records, settings.data, settings.training.seed)
    names = sorted({record.class_name for record in parts[1]})
    return {
        name: Split(*([r for r in part if r.class_name == name] for part in parts))
        for name in names
    }


def evaluate(
    inspect: Inspect,
    records: Sequence[ImageRecord],
    settings: DataSettings,
    change: tuple[float, float] = CHANGE,
) -> Evaluated:
    """The figures of a class's good images and defective copies.

    A copy is defective where its mask is not empty; one without any visible change is good.
    """
    goods = [as_unit(network_input(record.path, settings)[0]) for record in records]
    samples: list[_Sample] = []
    ratios: list[float] = []
    for index, (record, good) in enumerate(zip(records, goods, strict=True)):
        material = Material(good, goods[(index + 1) % len(goods)])
        batch, masks = [good], [np.zeros(good.shape[1:], bool)]
        families = [list(FAMILIES)[(index * COPIES + i) % len(FAMILIES)] for i in range(COPIES)]
        for copy, family in enumerate(families):
            rng = np.random.default_rng((crc32(record.path.name.encode()), copy))
            defective, mask = draw_defect(material, family, rng, change)
            batch.append(defective)
            masks.append(mask)
        images, truth = np.stack(batch), np.stack(masks)
        found = inspect(images)
        left = drawn = np.zeros(len(images))
        if found.reconstruction is not None:
            ratios += psnr(found.reconstruction[:1], images[:1]).tolist()
            parts = (found.reconstruction, images, np.broadcast_to(good, images.shape).copy())
            tensors = (*map(torch.from_numpy, parts), torch.from_numpy(truth[:, None]).float())
            left, drawn = (sums.numpy() for sums in defect_distances(*tensors))
        samples += map(
            _Sample, [None, *families], found.scores, found.score_maps, truth, left, drawn
        )
    figures = {**_figures(samples), "psnr": float(np.mean(ratios)) if ratios else None}
    return Evaluated(
        figures,
        {name: _figures([s for s in samples if s.family in (None, name)]) for name in FAMILIES},
    )


def _figures(samples: Sequence[_Sample]) -> dict[str, float | None]:
    """All figures but `psnr`; None where the samples cannot have one."""
    images = count([s.score for s in samples], [bool(s.mask.any()) for s in samples])
    pixels = count(
        np.concatenate([s.score_map.ravel() for s in samples]),
        np.concatenate([s.mask.ravel() for s in samples]),
    )
    left, drawn = (sum(float(getattr(s, part)) for s in samples) for part in ("left", "drawn"))
    return {
        "image_auroc": None if images is None else auroc(images),
        "pixel_auroc": None if pixels is None else auroc(pixels),
        "pixel_ap": None if pixels is None else average_precision(pixels),
        "erased": erased(left, drawn) if drawn else None,
    }


def normality(
    inspect: Inspect, records: Sequence[ImageRecord], settings: DataSettings
) -> dict[str, float | None]:
    """A value for each of `NORMALITY`, of good images."""
    scores, ratios = [], []
    for record in records:
        image = as_unit(network_input(record.path, settings)[0])[None]
        found = inspect(image)
        scores.append(found.scores[0])
        if found.reconstruction is not None:
            ratios.append(psnr(found.reconstruction, image)[0])
    return {
        "score_median": float(np.median(scores)),
        "score_95": float(np.quantile(scores, 0.95)),
        "psnr": float(np.mean(ratios)) if ratios else None,
    }


def main(
    data: Annotated[list[Path], typer.Option()],
    size: str = "lite",
    steps: int = 160,
    set_: Annotated[list[str] | None, typer.Option("--set")] = None,
    model_dir: Annotated[Path | None, typer.Option("--model", help="Evaluate this one.")] = None,
    change: Annotated[
        tuple[float, float], typer.Option(help="Contrast of what is drawn.")
    ] = CHANGE,
) -> None:
    """Train with the given settings, or take a model, and print the figures on drawn defects."""
    with tempfile.TemporaryDirectory() as folder:
        if model_dir is None:
            model_dir = Path(folder) / "model"
            wanted = [f"training.steps={steps}", *(set_ or [])]
            train(load_settings(size=size, overrides=wanted), data, model_dir)
        model = load_model(model_dir)
    settings, inspect = model.settings.data, of_model(model)
    split = split_images(data, model.settings)
    evaluated = {name: evaluate(inspect, own.kept, settings, change) for name, own in split.items()}
    families = {
        family: mean_figures([found.families[family] for found in evaluated.values()], OF_FAMILY)[0]
        for family in FAMILIES
    }
    classes = {name: found.figures for name, found in evaluated.items()}
    mean = mean_figures(list(classes.values()), FIGURES)[0]
    kept = {name: normality(inspect, own.kept, settings) for name, own in split.items()}
    learned = {
        name: normality(inspect, _spread(own.learned, len(own.kept)), settings)
        for name, own in split.items()
    }
    console = Console(width=120)
    console.print(_table("class", classes | {"mean": mean}, FIGURES))
    console.print(_table("family, mean over classes", families, OF_FAMILY))
    normal = {}
    for name in split:
        normal[f"{name}, held out"], normal[f"{name}, learned from"] = kept[name], learned[name]
    console.print(_table("good images", normal, NORMALITY))
    result = {
        "training": dict(model.training),
        "classes": classes,
        "mean": mean,
        "families": families,
        "kept": kept,
        "learned": learned,
    }
    print(json.dumps(result))


def _spread(records: Sequence[ImageRecord], most: int) -> list[ImageRecord]:
    """At most so many records, evenly over all of them."""
    chosen = np.linspace(0, len(records) - 1, min(most, len(records))).astype(int)
    return [records[index] for index in chosen]


def _table(corner: str, rows: Mapping[str, Figures], names: Sequence[str]) -> Table:
    table = Table(corner, *(name.replace("_", " ") for name in names))
    for label, figures in rows.items():
        table.add_row(label, *(_cell(name, figures[name]) for name in names))
    return table


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if name == "psnr" else f"{100 * value:.1f}"


if __name__ == "__main__":
    typer.run(main)
