"""Evaluation and prediction from files on disk to the last file written, and what bounds them.

A model of the size `tiny` is trained on the production line until its maps mark defects and no
noise. Its evaluation and its predictions are timed as wholes, in turn with their parts alone:
checking the files, decoding, the network, the figures, the report. Decoding runs ahead in threads
of its own, so the shares can add up to more or less than one; the largest part is what bounds the
whole.

    python -m benchmarks.end_to_end --images 96
"""

import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Entries, entries, ratio, report, side_by_side
from omnial.config.load import load_settings
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.data.records import Catalogue
from omnial.demo.production_line import generate
from omnial.evaluation.evaluate import evaluate_model
from omnial.evaluation.result import write_metrics
from omnial.evaluation.sample import DECODERS, Sample, load_sample, stack
from omnial.inference.inspector import Inspector
from omnial.metrics.pixels import PixelFigures
from omnial.metrics.psnr_ssim import psnr, ssim
from omnial.model_folder.weights_file import load_model
from omnial.models.prediction import Prediction
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.reporting.evaluation_report import evaluate, write_report
from omnial.reporting.prediction_report import predict
from omnial.training.fit import train

_CLASSES = ("gear", "tile")
_KINDS_AND_GOOD = 4
_BATCH = 16
_PARTS = ("check", "decoding", "network", "figures", "report")

Works = dict[str, Callable[[], object]]


def prepare(folder: Path, images: int, edge: int, steps: int) -> None:
    """Draw the data into `data`, and train into `model`."""
    each = max(1, images // (len(_CLASSES) * _KINDS_AND_GOOD))
    data = folder / "data"
    generate(data, seed=0, classes=_CLASSES, size=edge, train=10, test_good=each, per_kind=each)
    overrides = [f"training.steps={steps}", "training.precision=fp32", "training.accelerator=cpu"]
    # Nothing is to be left on the machine, and nothing found there.
    overrides.append("data.cache_gigabytes=0")
    settings = load_settings(size="tiny", overrides=overrides)
    train(settings, [data], folder / "model", progress=False)


def decode(model: TrainedModel, catalogue: Catalogue) -> list[Sample]:
    """All test images, as the evaluation decodes them."""
    with ThreadPoolExecutor(DECODERS) as pool:
        return [
            sample
            for product in catalogue.classes
            for sample in pool.map(
                partial(load_sample, product=product, settings=model.settings.data), product.test
            )
        ]


def inspect(model: TrainedModel, samples: list[Sample]) -> list[Prediction]:
    """All samples through the network, a batch at a time."""
    backend, starts = TorchBackend(model), range(0, len(samples), _BATCH)
    return [backend.run(*stack(samples[start : start + _BATCH])) for start in starts]


def score(samples: list[Sample], predictions: list[Prediction]) -> None:
    """The pixel figures, and those of the reconstruction of good images, as in an evaluation."""
    pixels: dict[str, PixelFigures] = {}
    for start, prediction in zip(range(0, len(samples), _BATCH), predictions, strict=True):
        batch = samples[start : start + _BATCH]
        for sample, score_map in zip(batch, prediction.score_maps, strict=True):
            own = pixels.setdefault(sample.record.class_name, PixelFigures())
            own.add(sample.record.kind, score_map, sample.mask, sample.valid)
        good = [index for index, sample in enumerate(batch) if not sample.record.anomalous]
        if good:
            inputs, valid = stack([batch[index] for index in good])
            psnr(prediction.reconstruction[good], inputs, valid)
            ssim(prediction.reconstruction[good], inputs, valid)
    for figures in pixels.values():
        figures.finish()


def works(folder: Path) -> tuple[Works, int]:
    """The wholes and their parts, by name, and the number of images that each one sees."""
    data, model = folder / "data", load_model(folder / "model", "cpu")
    inspector = Inspector.of(model)
    catalogue = discover([data], need="test")
    samples = decode(model, catalogue)
    predictions = inspect(model, samples)
    result = evaluate_model(model, catalogue)
    paths = [sample.record.path for sample in samples]

    def write() -> None:
        write_metrics(result, folder / "report")
        write_report(result, folder / "report")

    return {
        "evaluation": lambda: evaluate(folder / "model", [data], folder / "whole", device="cpu"),
        "prediction": lambda: predict(inspector, paths, out=folder / "predictions"),
        "check": lambda: check_files(discover([data], need="test"), model.settings.data),
        "decoding": lambda: decode(model, catalogue),
        "network": lambda: inspect(model, samples),
        "figures": lambda: score(samples, predictions),
        "report": write,
    }, len(samples)


def measure(images: int = 96, edge: int = 512, steps: int = 300, rounds: int = 5) -> Entries:
    """Images a second of the wholes, and the share of each part in them."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), images, edge, steps)
        timed, count = works(Path(folder))
        times = side_by_side(timed, rounds)
    figures: dict[str, tuple[float, str]] = {}
    for whole, parts in (("evaluation", _PARTS), ("prediction", ("decoding", "network"))):
        figures[f"{whole}_speed"] = (count / statistics.median(times[whole]), "images/s")
        for part in parts:
            figures[f"{part}_share_of_{whole}"] = (ratio(times[part], times[whole]), "share")
    command = f"python -m benchmarks.end_to_end --images {images} --edge {edge} --steps {steps}"
    return entries(f"{command} --rounds {rounds}", figures)


def main(
    images: Annotated[int, typer.Option(help="Test images.")] = 96,
    edge: Annotated[int, typer.Option(help="Edge of the files' images in pixels.")] = 512,
    steps: Annotated[int, typer.Option(help="Training steps of the model.")] = 300,
    rounds: Annotated[int, typer.Option(help="Rounds of timing.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    found = measure(8, 64, 2, 1) if quick else measure(images, edge, steps, rounds)
    report("From files to report", found, out)


if __name__ == "__main__":
    typer.run(main)
