"""Pictures of a study: a chart of its figures, and ten images as each row's model sees them."""

import statistics
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from omnial.data.decode import as_unit
from omnial.data.records import Catalogue, ImageRecord
from omnial.evaluation.result import picture
from omnial.evaluation.sample import load_sample
from omnial.models.normality import with_normality
from omnial.models.prediction import over_windows
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.reporting.charts import png
from omnial.reporting.picture_grid import picture_grid
from omnial.reporting.report_pictures import grey_picture
from omnial.studies.row_figures import RowFigures
from omnial.studies.study_rows import COMPARED, WORDS, Study

IMAGES: Final = 10

_COLOURS: Final = ("#3566a8", "#5aa36a", "#c8553d", "#8a6d3b")


def chart(study: Study, rows: Sequence[RowFigures]) -> bytes | None:
    """A PNG of the three compared metrics of the finished rows, with their spread over the seeds.

    Of rows that differ in their number of images, image AUROC, pixel AP, PSNR and what is erased,
    over the images. None where no row is finished.
    """
    finished = [row for row in rows if row.seeds]
    if not finished:
        return None
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=study.axis, ylabel="percent, mean over classes", ylim=(0.0, 100.0))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    (_lines_over_images if study.own_images else _bars)(axes, study, finished)
    axes.legend(ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.1))
    return png(figure)


def _bars(axes: Axes, study: Study, rows: Sequence[RowFigures]) -> None:
    """Bars of each row, or lines over the axis of the study."""
    positions, width = np.arange(len(rows)), 0.8 / len(COMPARED)
    for index, (metric, colour) in enumerate(zip(COMPARED, _COLOURS, strict=False)):
        means, spread = _spread([row.values(metric) for row in rows])
        style: dict[str, Any] = {"color": colour, "label": WORDS[metric], "capsize": 3}
        if study.axis:
            # 0 would have no position on a logarithmic axis, so the axis is even.
            axes.errorbar(positions, means, spread, marker="o", **style)
        else:
            axes.bar(positions + (index - 1) * width, means, width, yerr=spread, **style)
    labels = [row.row.label for row in rows]
    axes.set_xticks(positions, labels if study.axis else [textwrap.fill(n, 12) for n in labels])


def _lines_over_images(axes: Axes, study: Study, rows: Sequence[RowFigures]) -> None:
    """Detection and reconstruction over images, logarithmic; PSNR has an axis of its own."""
    decibels = axes.twinx()
    decibels.set(ylabel="PSNR of the reconstruction, dB", ylim=(10.0, 40.0))
    decibels.spines["top"].set_visible(False)
    images = [row.row.images or 0 for row in rows]
    erased = [[100 * s.erased for s in row.seeds if s.erased is not None] for row in rows]
    lines = (
        (axes, "image AUROC", [row.values("image_auroc") for row in rows]),
        (axes, "pixel AP", [row.values("pixel_ap") for row in rows]),
        (axes, "defects erased", erased),
        (decibels, "PSNR", [[s.psnr for s in row.seeds if s.psnr is not None] for row in rows]),
    )
    for (own, label, values), colour in zip(lines, _COLOURS, strict=True):
        means, spread = _spread(values)
        own.errorbar(images, means, spread, marker="o", color=colour, label=label, capsize=3)
    # The legend of one axis names the other's line as well.
    axes.plot([], [], marker="o", color=_COLOURS[-1], label="PSNR (right)")
    minutes = [
        statistics.fmean(r["training_seconds"] for s in row.seeds for r in s.results) / 60
        for row in rows
    ]
    axes.set_xscale("log")
    axes.set_xticks(
        images, [f"{count:,}\n{time:.0f} min" for count, time in zip(images, minutes, strict=True)]
    )
    axes.set_xticks([], minor=True)
    axes.set_xlabel("images, and minutes of the training")


def _spread(values: Sequence[Sequence[float]]) -> tuple[NDArray[np.float64], Any]:
    """Mean of each row's seeds, and how far the lowest and the highest lie from it."""
    seeds = [own or [float("nan")] for own in values]
    means = np.array([statistics.fmean(own) for own in seeds])
    low, high = ([ends(own) for own in seeds] for ends in (min, max))
    return means, (means - low, high - means)


def pick(catalogue: Catalogue, count: int = IMAGES) -> list[ImageRecord]:
    """Choose defective test images with a mask, the classes in turn, kinds as varied as can be.

    The same data give the same images, whatever the model: none is chosen by a score.
    """
    queues = []
    for index, product in enumerate(catalogue.classes):
        masked = [record for record in product.test if record.anomalous and record.mask]
        kinds = list(dict.fromkeys(record.kind for record in masked))
        # Classes start at different kinds, since many have the same ones.
        start = index % max(len(kinds), 1)
        kinds = kinds[start:] + kinds[:start]
        queues.append(_in_turn([[r for r in masked if r.kind == kind] for kind in kinds]))
    return _in_turn(queues)[:count]


def gallery(
    catalogue: Catalogue,
    records: Sequence[ImageRecord],
    models: Sequence[tuple[str, TrainedModel]],
) -> NDArray[np.uint8]:
    """Draw a line an image: input, ground truth, and each model's reconstruction and score map.

    The models, by name, all take the same network input. The result is (H, W, 3) RGB.
    """
    products = {product.name: product for product in catalogue.classes}
    settings = models[0][1].settings.data
    headings = ["input", "ground truth"]
    headings += [f"{name}: {what}" for name, _ in models for what in ("rebuilt", "score")]
    lines = []
    for record in records:
        sample = load_sample(record, products[record.class_name], settings)
        image = as_unit(sample.image)
        mask = np.zeros(sample.valid.shape) if sample.mask is None else sample.mask
        cells = [picture(image), grey_picture(mask.astype(np.float32))]
        for _, model in models:
            run, everywhere = TorchBackend(model).run, np.ones((1, *sample.valid.shape), bool)
            found = over_windows(run, image[None], everywhere, model.settings)
            names, rule = [record.class_name], model.settings.model.image_score
            found = with_normality(found, model.normality, names, everywhere, rule)
            assert found.reconstruction is not None
            cells += [picture(found.reconstruction[0]), grey_picture(found.score_maps[0])]
        lines.append((f"{record.class_name}, {record.kind}", cells))
    return np.asarray(picture_grid(headings, lines))


def _in_turn(queues: Sequence[Sequence[ImageRecord]]) -> list[ImageRecord]:
    return [record for turn in zip_longest(*queues) for record in turn if record is not None]
