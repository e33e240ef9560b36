"""The reports' charts as inline SVG: curves, score histograms, lines over steps.

Charts are drawn in placeholder colours that are then replaced by CSS variables, so that one
drawing serves the light and the dark page. No text of a user reaches matplotlib, whose labels
would read `$` as mathematics: names are added as SVG titles.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from omnial.metrics.ranking import Curve

SERIES_COLOURS = 8
"""Colours of the page's palette, `--series-0` and up."""

_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5), (6, 1.5, 1.5, 1.5))
_INK, _FAINT, _GRID = "#010203", "#010204", "#010205"
_GOOD, _BAD = "#010206", "#010207"
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", _GRID: "--grid", _GOOD: "--good", _BAD: "--bad"} | {
    f"#0102{0x10 + index:02x}": f"--series-{index}" for index in range(SERIES_COLOURS)
}
_BINS = 24


@dataclass(frozen=True)
class CurveKind:
    """One chart of curves: its key in `ClassResult.curves`, its words, and its kind."""

    key: str
    title: str
    x_label: str
    y_label: str
    meaning: str
    chance: bool


CURVE_KINDS = (
    CurveKind(
        "image_roc",
        "Images: found against false alarms",
        "good images called defective",
        "defective images found",
        "Each point is one possible threshold; the closer a line comes to the upper left corner, "
        "the fewer false alarms a found defect costs.",
        True,
    ),
    CurveKind(
        "image_pr",
        "Images: right alarms against found",
        "defective images found",
        "alarms that are right",
        "A line that stays high to the right edge finds every defective part without crying wolf.",
        False,
    ),
    CurveKind(
        "pixel_roc",
        "Pixels: found against falsely marked",
        "sound pixels marked",
        "defect pixels marked",
        "The same as for images, counted pixel by pixel: does the mark lie where the defect is?",
        True,
    ),
    CurveKind(
        "pixel_pr",
        "Pixels: rightly marked against found",
        "defect pixels marked",
        "marked pixels that are right",
        "Defects cover little of an image, so this is the hardest chart: "
        "high lines mean tight outlines.",
        False,
    ),
)
"""The charts of curves in the order of the page."""


def series_colour(index: int) -> str:
    """CSS variable of the colour of the class at this place."""
    return f"--series-{index % SERIES_COLOURS}"


def series_dashes(index: int) -> str:
    """SVG dash array of the class at this place: colours repeat after eight, with other dashes."""
    return " ".join(f"{length:g}" for length in _dashes(index)) or "none"


def curve_chart(kind: CurveKind, curves: Sequence[tuple[str, Curve | None]]) -> str:
    """Draw one curve for each class.

    Args:
        kind: Which chart.
        curves: Name and curve of every class, in the page's order; None is left out, so that a
            class keeps its colour in every chart.

    Returns:
        An `svg` element for a page, without outside references.
    """
    figure = Figure(figsize=(4.0, 3.4))
    figure.subplots_adjust(left=0.17, right=0.96, bottom=0.14, top=0.98)
    axes = figure.add_subplot()
    _plain(axes)
    axes.grid(color=_GRID, linewidth=0.8)
    if kind.chance:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, dashes=(2, 3), gid="chance")
    names = {"chance": "guessing"}
    for index, (name, curve) in enumerate(curves):
        if curve is not None:
            names[f"line{index}"] = name
            axes.plot(
                curve.x,
                curve.y,
                color=f"#0102{0x10 + index % SERIES_COLOURS:02x}",
                linewidth=1.9,
                dashes=_dashes(index) or (None, None),
                gid=f"line{index}",
            )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=kind.x_label, ylabel=kind.y_label)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axis.set_major_locator(MaxNLocator(5))
    drawn = sum(curve is not None for _, curve in curves)
    return _svg(figure, kind.key, f"{kind.title}: one line for each of {drawn} classes", names)


def score_histogram(
    good: NDArray[np.float64],
    defective: NDArray[np.float64],
    thresholds: Sequence[float],
    key: str,
    name: str,
) -> str:
    """Draw how often each score occurs, for good images above and defective ones below.

    Args:
        good: (n,) finite scores of the good images; may be empty.
        defective: (m,) finite scores of the defective images; may be empty.
        thresholds: Finite thresholds to mark; may be empty.
        key: Prefix of the drawing's inner names, unique on the page.
        name: The class, for the description.

    Returns:
        An `svg` element for a page.
    """
    edges = _edges(np.concatenate([good, defective, np.asarray(thresholds, dtype=np.float64)]))
    figure = Figure(figsize=(4.6, 2.8))
    figure.subplots_adjust(left=0.16, right=0.98, bottom=0.16, top=0.92, hspace=0.16)
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
            axes.text(
                0.5, 0.5, "none in the test set", transform=axes.transAxes, ha="center", color=_INK
            )
    upper.tick_params(axis="x", labelbottom=False)
    lower.set_xlabel("score of the image")
    lower.set_xlim(edges[0], edges[-1])
    if thresholds:
        value = max(thresholds)
        left = value < (edges[0] + edges[-1]) / 2
        upper.annotate(
            f" threshold {value:.3f} ",
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            ha="left" if left else "right",
            va="bottom",
            color=_INK,
            fontsize=9,
        )
    words = f"Scores of {len(good)} good and {len(defective)} defective images of {name}"
    return _svg(figure, key, words, {})


def step_chart(
    key: str,
    title: str,
    x_label: str,
    y_label: str,
    steps: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None]]],
    shares: bool = True,
) -> str:
    """Draw one line for each model over a few steps, such as radii or severities.

    Args:
        key: Prefix of the drawing's inner names, unique on the page.
        title: What the chart shows, for the description.
        x_label: Label of the steps.
        y_label: Label of the values.
        steps: Name of each step.
        series: Name and values of each model, in the page's order; None leaves a gap.
        shares: Whether the values are shares of 1, shown in percent on an axis from 0 to 1.

    Returns:
        An `svg` element for a page, without outside references.
    """
    figure = Figure(figsize=(4.0, 3.0))
    figure.subplots_adjust(left=0.17, right=0.96, bottom=0.16, top=0.97)
    axes = figure.add_subplot()
    _plain(axes)
    axes.grid(color=_GRID, linewidth=0.8)
    names = {}
    for index, (name, values) in enumerate(series):
        names[f"line{index}"] = name
        axes.plot(
            range(len(values)),
            [np.nan if value is None else value for value in values],
            color=f"#0102{0x10 + index % SERIES_COLOURS:02x}",
            linewidth=1.9,
            marker="o",
            markersize=3.5,
            dashes=_dashes(index) or (None, None),
            gid=f"line{index}",
        )
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.2, len(steps) - 0.8))
    axes.set_xticks(range(len(steps)), steps)
    if shares:
        axes.set_ylim(-0.01, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return _svg(figure, key, f"{title}: one line for each of {len(series)} models", names)


def _dashes(index: int) -> tuple[float, ...]:
    """Dash lengths of the class at this place."""
    return _DASHES[index // SERIES_COLOURS % len(_DASHES)]


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of equal bins that hold every value, with a little air; 0..1 for none."""
    if not len(values):
        return np.linspace(0.0, 1.0, _BINS + 1)
    low, high = float(values.min()), float(values.max())
    air = 0.03 * (high - low) or 0.05
    return np.linspace(low - air, high + air, _BINS + 1)


def _plain(axes: Axes) -> None:
    """Only the left and bottom line, in the page's colours."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)
    axes.tick_params(colors=_INK, length=0, labelsize=9)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)


def _svg(figure: Figure, key: str, words: str, names: Mapping[str, str]) -> str:
    """Turn a figure into an `svg` element that fits into a page.

    Args:
        figure: The figure.
        key: Prefix of every inner identifier.
        words: What the drawing shows, for those who cannot see it.
        names: Title by group identifier: shown when the pointer rests on the group.

    Returns:
        The element: no namespaces, no metadata, no style sheet, unique identifiers, and CSS
        variables for colours.
    """
    buffer = io.BytesIO()
    # Text stays text; the fixed salt makes the drawing the same on every run. The settings apply
    # inside this block only.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure.patch.set_visible(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in ("metadata", "style")]:
            parent.remove(child)
    used = set(re.findall(r"(?:url\(#|href=\")#?([^)\"]+)", ElementTree.tostring(root, "unicode")))
    for element in root.iter():
        identifier = element.attrib.pop("id", "")
        if identifier in names:
            title = ElementTree.Element("title")
            title.text = names[identifier]
            element.insert(0, title)
        if identifier in used:
            element.set("id", f"{key}-{identifier}")
        for name, value in element.attrib.items():
            element.set(name, f"#{key}-{value[1:]}" if name == "href" else _local(value, key))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", words)
    root.set("class", "chart")
    return ElementTree.tostring(root, "unicode")


def _local(value: str, key: str) -> str:
    """An attribute with this drawing's identifiers and the page's colours."""
    value = value.replace("url(#", f"url(#{key}-")
    for placeholder, variable in _VARIABLES.items():
        value = value.replace(placeholder, f"var({variable})")
    # The page's own typeface; the size stays.
    return re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
