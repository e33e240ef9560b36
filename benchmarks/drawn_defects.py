"""Compare settings on validation images: train, then score defects drawn onto unseen good images.

The training synthesis cannot judge itself, and test images are for the final figure alone. So
this draws scratches, cracks, spots, pasted and blurred patches, none of which the training
synthesis draws, onto the normal images that training kept for validation.

    python benchmarks/drawn_defects.py --data DIR --steps 160 --set training.learning_rate=1e-3
    python benchmarks/drawn_defects.py --data DIR --model MODEL_DIR

A model that is judged must have been trained on the same data, so that the same images were kept.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from zlib import crc32

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from omnial.config.load import load_settings
from omnial.config.settings import DataSettings, Settings
from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.data.records import ImageRecord
from omnial.data.split import split_validation
from omnial.metrics.ranking import auroc, average_precision, count
from omnial.models.folder import TrainedModel, load_model
from omnial.models.runner import inspect_batch
from omnial.training.fit import train

COPIES = 3
"""Defective copies of each validation image."""
CHANGE = (0.15, 0.5)
"""By how much a scratch, crack or spot is lighter or darker, of the range."""
_SCALE = 2  # shapes are drawn at twice the size and averaged down


def draw_shape(rng: np.random.Generator, kind: str, height: int, width: int) -> Image.Image:
    """The outline of one defect, white on black, at twice the size."""
    canvas = Image.new("L", (width * _SCALE, height * _SCALE), 0)
    pen = ImageDraw.Draw(canvas)
    size = np.array(canvas.size)
    if kind in ("scratch", "crack"):
        legs = 2 if kind == "scratch" else int(rng.integers(4, 12))
        point, angle = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, 2 * np.pi)
        length = rng.uniform(30, 120) * _SCALE / legs
        points = [tuple(point)]
        for _ in range(legs):
            angle += rng.normal(0, 0.05 if kind == "scratch" else 0.5)
            point = point + length * np.array([np.cos(angle), np.sin(angle)])
            points.append(tuple(point))
        pen.line(points, fill=255, width=int(rng.integers(2, 7)))
    elif kind == "spot":
        centre, radii = rng.uniform(0.15, 0.85, 2) * size, rng.uniform(6, 28, 2)
        pen.ellipse((*(centre - radii), *(centre + radii)), fill=255)
    else:
        corners = int(rng.integers(4, 9))
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(12, 50, corners)
        ring = np.stack((radii * np.cos(angles), radii * np.sin(angles)), 1)
        pen.polygon([tuple(xy) for xy in rng.uniform(0.2, 0.8, 2) * size + ring], fill=255)
    return canvas


def draw_defect(
    image: NDArray[np.float32],
    rng: np.random.Generator,
    change: tuple[float, float] = CHANGE,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One defect on a (3, H, W) image in [0, 1]: the image with it, and its (H, W) mask."""
    height, width = image.shape[1:]
    kind = str(rng.choice(["scratch", "crack", "spot", "pasted", "blurred"]))
    shape = draw_shape(rng, kind, height, width).resize((width, height), Image.Resampling.BOX)
    alpha = ndimage.gaussian_filter(np.asarray(shape, np.float32) / 255, rng.uniform(0.3, 1.0))
    if kind == "pasted":
        shift = (int(rng.integers(20, height - 20)), int(rng.integers(20, width - 20)))
        source = np.roll(image[:, ::-1], shift, (1, 2))
    elif kind == "blurred":
        source = ndimage.gaussian_filter(image, (0, 4, 4)) * rng.uniform(0.8, 1.0)
    else:
        source = np.clip(image + rng.choice([-1, 1]) * rng.uniform(*change), 0, 1)
    defective = (image * (1 - alpha) + source * alpha).astype(np.float32)
    mask = (alpha > 0.4) & (np.abs(defective - image).max(0) > 0.02)
    return defective, mask


Inspect = Callable[[NDArray[np.float32]], tuple[NDArray[np.float64], NDArray[np.float32]]]
"""A batch (B, 3, H, W) in [0, 1] to (B,) scores and (B, H, W) score maps."""


def of_model(model: TrainedModel) -> Inspect:
    """Inspect with a trained model."""

    def inspect(images: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        found = inspect_batch(model, torch.from_numpy(images))
        return found.scores, found.score_maps

    return inspect


def kept_images(data: list[Path], settings: Settings) -> dict[str, list[ImageRecord]]:
    """The validation images of each class."""
    records = [r for product in discover(data, need="train").classes for r in product.train]
    _, kept = split_validation(records, settings.data, settings.training.seed)
    names = sorted({record.class_name for record in kept})
    return {name: [record for record in kept if record.class_name == name] for name in names}


def judge(
    inspect: Inspect,
    records: list[ImageRecord],
    settings: DataSettings,
    change: tuple[float, float] = CHANGE,
) -> tuple[float, float, float]:
    """Image AUROC, pixel AUROC and pixel AP of a class's good images and defective copies."""
    scores, labels, maps, masks = [], [], [], []
    for record in records:
        good = as_unit(network_input(record.path, settings)[0])
        batch, truth = [good], [np.zeros(good.shape[1:], bool)]
        for copy in range(COPIES):
            rng = np.random.default_rng((crc32(record.path.name.encode()), copy))
            defective, mask = draw_defect(good, rng, change)
            batch.append(defective)
            truth.append(mask)
        found, found_maps = inspect(np.stack(batch))
        scores.append(found)
        labels += [False] + [True] * COPIES
        maps.append(found_maps.ravel())
        masks.append(np.stack(truth).ravel())
    images = count(np.concatenate(scores), np.array(labels))
    pixels = count(np.concatenate(maps), np.concatenate(masks))
    assert images is not None
    assert pixels is not None
    return auroc(images), auroc(pixels), average_precision(pixels)


def main(
    data: Annotated[list[Path], typer.Option()],
    size: str = "lite",
    steps: int = 160,
    set_: Annotated[list[str] | None, typer.Option("--set")] = None,
    model_dir: Annotated[Path | None, typer.Option("--model", help="Judge this one.")] = None,
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
    settings, inspect = model.settings, of_model(model)
    table = Table("class", "image AUROC", "pixel AUROC", "pixel AP")
    figures = {
        name: judge(inspect, records, settings.data, change)
        for name, records in kept_images(data, settings).items()
    }
    for name, row in figures.items():
        table.add_row(name, *(f"{100 * value:.1f}" for value in row))
    mean = np.mean(list(figures.values()), axis=0)
    table.add_row("mean", *(f"{100 * value:.1f}" for value in mean))
    Console().print(table)
    print(json.dumps({"training": dict(model.training), "mean": mean.tolist()}))


if __name__ == "__main__":
    typer.run(main)
