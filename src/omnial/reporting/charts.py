"""Charts of the evaluation report: curves and score histograms; what all charts share.

No text of a user reaches matplotlib, whose labels would read `$` as mathematics: the page's legend
names the lines.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from omnial.metrics.ranking import Curve
from omnial.reporting.render import data_uri

SERIES_COLOURS = (
    *("#0b62a8", "#c2571a", "#18794e", "#8a3f9e"),
    *("#8f6a00", "#0d7d8c", "#b3264f", "#5a6472"),
)
"""Colours of the lines."""

_DASHES = ((None, None), (5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5))
_INK, _FAINT, _GRID = "#17202a", "#8793a0", "#e3e8ed"
_GOOD, _BAD = "#5b7fa6", "#c2571a"
_BINS = 24
_DPI = 110


class Chart(NamedTuple):
    """A chart for a page: `data:` address, description for those who cannot see it, pixels."""

    uri: str
    words: str
    width: int
    height: int


CURVES = {
    "image_roc": ("good images called defective", "defective images found"),
    "image_pr": ("defective images found", "alarms that are right"),
    "pixel_roc": ("sound pixels marked", "defect pixels marked"),
    "pixel_pr": ("defect pixels marked", "marked pixels that are right"),
}
"""Labels of the axes, by the keys of `ClassResult.curves`, in the order of the page."""


def line_style(index: int) -> dict[str, str]:
    """Colour and dashes of the line at this position of a legend, as SVG writes them."""
    look = line_arguments(index)
    dashes = " ".join(f"{length:g}" for length in look["dashes"] if length)
    return {"colour": look["color"], "dashes": dashes or "none"}


def line_arguments(index: int) -> dict[str, Any]:
    """The same as arguments for matplotlib: colours repeat after eight, with other dashes."""
    cycle, position = divmod(index, len(SERIES_COLOURS))
    dashes = _DASHES[cycle % len(_DASHES)]
    return {"color": SERIES_COLOURS[position], "linewidth": 1.9, "dashes": dashes}


def curve_chart(key: str, curves: Sequence[Curve | None]) -> Chart:
    """Draw one curve for each class; one that is None keeps the others' colours as they are."""
    figure = Figure(figsize=(4.0, 3.4), layout="constrained")
    axes = _plain(figure.add_subplot())
    axes.grid(color=_GRID, linewidth=0.8)
    if key.endswith("roc"):
        # Chance.
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, dashes=(2, 3))
    for index, curve in enumerate(curves):
        if curve is not None:
            axes.plot(curve.x, curve.y, **line_arguments(index))
    x_label, y_label = CURVES[key]
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=x_label, ylabel=y_label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axis.set_major_locator(MaxNLocator(5))
    drawn = sum(curve is not None for curve in curves)
    return _svg(figure, f"{y_label} over {x_label}: one line for each of {drawn} classes")


def score_histogram(
    good: Sequence[float], defective: Sequence[float], thresholds: Sequence[float], name: str
) -> Chart:
    """Draw how often each score occurs, for good images above and defective ones below.

    The scores and the thresholds to mark are finite, and may be none; `name` is the class.
    """
    values = [*good, *defective, *thresholds]
    low, high = min(values, default=0.0), max(values, default=1.0)
    air = (0.03 * (high - low) or 0.05) if values else 0.0
    edges = np.linspace(low - air, high + air, _BINS + 1)
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, scores, label, colour in (
        (upper, good, "good", _GOOD),
        (lower, defective, "defective", _BAD),
    ):
        _plain(axes).grid(axis="y", color=_GRID, linewidth=0.8)
        counts, _ = np.histogram(scores, edges)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colour, linewidth=0)
        axes.set_ylim(0, max(1, int(counts.max(initial=0))) * 1.12)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.set_ylabel(f"{label}\nimages")
        for value in thresholds:
            axes.axvline(value, color=_INK, linewidth=1.4, dashes=(4, 2.5))
        if not len(scores):
            axes.text(0.5, 0.5, "none in the test set", transform=axes.transAxes, ha="center")
    upper.tick_params(axis="x", labelbottom=False)
    lower.set(xlabel="score of the image", xlim=(edges[0], edges[-1]))
    if thresholds:
        value = max(thresholds)
        side = "left" if value < (edges[0] + edges[-1]) / 2 else "right"
        at: Any = {"transform": upper.get_xaxis_transform(), "ha": side, "va": "bottom"}
        upper.text(value, 1.0, f" threshold {value:.3f} ", fontsize=9, **at)
    return _svg(
        figure, f"Scores of {len(good)} good and {len(defective)} defective images of {name}"
    )


def png(figure: Figure) -> bytes:
    """Draw a figure as a PNG file: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(length=0, labelsize=9)
    axes.set_axisbelow(True)
    return axes


def _svg(figure: Figure, words: str) -> Chart:
    """Draw a figure as an SVG image: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "omnial"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Chart(data_uri(buffer.getvalue(), "image/svg+xml"), words, width, height)
