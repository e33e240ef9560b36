"""Charts of the evaluation report: curves and score histograms; what all charts share.

A chart is drawn in fixed colours on white, as an SVG image of its own that an `img` element shows.
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
from numpy.typing import NDArray

from omnial.metrics.ranking import Curve
from omnial.reporting.render import data_uri

SERIES_COLOURS = (
    *("#0b62a8", "#c2571a", "#18794e", "#8a3f9e"),
    *("#8f6a00", "#0d7d8c", "#b3264f", "#5a6472"),
)
"""Colours of the lines; they repeat with other dashes."""

_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5))
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


class LineStyle(NamedTuple):
    """Colour and dashes of the line at one position of a legend; dashes as SVG writes them."""

    colour: str
    dashes: str


class CurveKind(NamedTuple):
    """One chart of curves: its key in `ClassResult.curves`, and its words."""

    key: str
    title: str
    x_label: str
    y_label: str


CURVE_KINDS = (
    CurveKind(
        "image_roc",
        "Images: found against false alarms",
        "good images called defective",
        "defective images found",
    ),
    CurveKind(
        "image_pr",
        "Images: right alarms against found",
        "defective images found",
        "alarms that are right",
    ),
    CurveKind(
        "pixel_roc",
        "Pixels: found against falsely marked",
        "sound pixels marked",
        "defect pixels marked",
    ),
    CurveKind(
        "pixel_pr",
        "Pixels: rightly marked against found",
        "defect pixels marked",
        "marked pixels that are right",
    ),
)
"""The charts of curves in the order of the page."""


def line_style(index: int) -> LineStyle:
    """Look of the line at this position: colours repeat after eight, with other dashes."""
    colour, dashes = _look(index)
    return LineStyle(colour, " ".join(f"{length:g}" for length in dashes) or "none")


def line_arguments(index: int) -> dict[str, Any]:
    """Matplotlib's arguments of the line at this position."""
    colour, dashes = _look(index)
    return {"color": colour, "linewidth": 1.9, "dashes": dashes or (None, None)}


def curve_chart(kind: CurveKind, curves: Sequence[Curve | None]) -> Chart:
    """Draw one curve for each class; one that is None keeps the others' colours as they are."""
    figure = Figure(figsize=(4.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    _plain(axes)
    axes.grid(color=_GRID, linewidth=0.8)
    if kind.key.endswith("roc"):
        # Chance.
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, dashes=(2, 3))
    drawn = sum(curve is not None for curve in curves)
    for index, curve in enumerate(curves):
        if curve is not None:
            axes.plot(curve.x, curve.y, **line_arguments(index))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=kind.x_label, ylabel=kind.y_label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axis.set_major_locator(MaxNLocator(5))
    return _svg(figure, f"{kind.title}: one line for each of {drawn} classes")


def score_histogram(
    good: NDArray[np.float64],
    defective: NDArray[np.float64],
    thresholds: Sequence[float],
    name: str,
) -> Chart:
    """Draw how often each score occurs, for good images above and defective ones below.

    Scores (n,), (m,) and the thresholds to mark are finite, and may be none; `name` is the class.
    """
    edges = _edges(np.concatenate([good, defective, np.asarray(thresholds, dtype=np.float64)]))
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, scores, label, colour in (
        (upper, good, "good", _GOOD),
        (lower, defective, "defective", _BAD),
    ):
        _plain(axes)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
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
        left = value < (edges[0] + edges[-1]) / 2
        upper.annotate(
            f" threshold {value:.3f} ",
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            ha="left" if left else "right",
            va="bottom",
            fontsize=9,
        )
    words = f"Scores of {len(good)} good and {len(defective)} defective images of {name}"
    return _svg(figure, words)


def png(figure: Figure) -> bytes:
    """Draw a figure as a PNG file: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _look(index: int) -> tuple[str, tuple[float, ...]]:
    cycle, position = divmod(index, len(SERIES_COLOURS))
    return SERIES_COLOURS[position], _DASHES[cycle % len(_DASHES)]


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of equal bins that hold every value, with a little air; 0..1 for none."""
    if not len(values):
        return np.linspace(0.0, 1.0, _BINS + 1)
    low, high = float(values.min()), float(values.max())
    air = 0.03 * (high - low) or 0.05
    return np.linspace(low - air, high + air, _BINS + 1)


def _plain(axes: Axes) -> None:
    """Only the left and bottom line."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(length=0, labelsize=9)
    axes.set_axisbelow(True)


def _svg(figure: Figure, words: str) -> Chart:
    """Draw a figure as an SVG image: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "omnial"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Chart(data_uri(buffer.getvalue(), "image/svg+xml"), words, width, height)
