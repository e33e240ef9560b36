"""A study's chart as PNG: bars with the spread over seeds, or lines over a setting."""

import statistics
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from omnial.studies.plan import COMPARED, WORDS, Study
from omnial.studies.storage import png
from omnial.studies.table import Figures

_COLOURS: Final = ("#3566a8", "#5aa36a", "#c8553d")


def chart(study: Study, rows: Sequence[Figures]) -> bytes | None:
    """Draw the three metrics of the finished rows.

    Returns:
        A PNG; None where no row is finished.
    """
    finished = [row for row in rows if row.runs]
    if not finished:
        return None
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(finished))
    if study.chart == "line":
        # 0 has a place on a logarithmic axis only beside it, so the axis is even.
        for metric, colour in zip(COMPARED, _COLOURS, strict=True):
            means, low, high = _spread(finished, metric)
            axes.errorbar(
                places,
                means,
                yerr=(means - low, high - means),
                marker="o",
                color=colour,
                label=WORDS[metric],
                capsize=3,
            )
        axes.set_xticks(places, [row.row.label for row in finished])
        axes.set_xlabel(study.axis)
    else:
        width = 0.8 / len(COMPARED)
        for index, (metric, colour) in enumerate(zip(COMPARED, _COLOURS, strict=True)):
            means, low, high = _spread(finished, metric)
            axes.bar(
                places + (index - 1) * width,
                means,
                width,
                yerr=(means - low, high - means),
                color=colour,
                label=WORDS[metric],
                capsize=3,
            )
        axes.set_xticks(places, [row.row.label.replace(" ", "\n", 1) for row in finished])
    axes.set_ylabel("percent, mean over classes")
    axes.set_ylim(0.0, 100.0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=3, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.1))
    return png(figure)


def _spread(rows: Sequence[Figures], metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest of a metric over the seeds, NaN where a row has none."""
    values = [row.values(metric) or [float("nan")] for row in rows]
    return (
        np.array([statistics.fmean(run) for run in values]),
        np.array([min(run) for run in values]),
        np.array([max(run) for run in values]),
    )
