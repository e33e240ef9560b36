"""The robustness study's charts as PNG: figures over the radius and over severities."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omnial.reporting.charts import png
from omnial.robustness.assessment import Assessment
from omnial.robustness.corruptions import CORRUPTIONS, SEVERITIES
from omnial.robustness.figures import LevelFigures
from omnial.robustness.levels import UNATTACKED, UNTARGETED
from omnial.studies.study_rows import WORDS

_COLOURS: Final = ("#3566a8", "#5aa36a", "#c8553d", "#8a6bb0", "#b08a3c")
_STYLES: Final = ("-", "--", "-.", ":")
_METRICS: Final = ("pixel_ap", "pixel_auroc", "image_auroc")


def level_chart(found: Assessment) -> bytes | None:
    """Draw three figures over the radius, for the set and for white boxes.

    Returns:
        A PNG; None where no model is judged.
    """
    attacks: list[tuple[str, Mapping[str, Mapping[str, LevelFigures]]]] = [
        ("perturbations of the surrogate", {m.name: m.transfer for m in found.models})
    ]
    boxes = {m.name: m.white_box.levels for m in found.models if m.white_box is not None}
    if boxes:
        attacks.append(("white box", boxes))
    if not found.models:
        return None
    order = [model.name for model in found.models]
    steps = [UNATTACKED, *(level.name for level in reversed(UNTARGETED))]
    figure = Figure(figsize=(9.0, 0.6 + 2.4 * len(attacks)), layout="constrained")
    panels = figure.subplots(len(attacks), len(_METRICS), squeeze=False, sharex=True, sharey=True)
    for row, (words, models) in zip(panels, attacks, strict=True):
        for axes, metric in zip(row, _METRICS, strict=True):
            for name, levels in models.items():
                values = [levels[step].mean[metric] for step in steps]
                _draw(axes, order, name, values)
            axes.set_title(f"{WORDS[metric]}, {words}", fontsize=8)
            axes.set_ylim(0.0, 100.0)
            axes.set_xticks(range(len(steps)), steps)
    for axes in panels[-1]:
        axes.set_xlabel("largest change, grey levels", fontsize=8)
    return _with_legend(figure, panels[0][0])


def severity_chart(found: Assessment) -> bytes | None:
    """Draw the pixel AP over the severities of each corruption.

    Returns:
        A PNG; None where no model has seen corruptions.
    """
    models = [model for model in found.models if model.corruptions]
    if not models:
        return None
    order = [model.name for model in found.models]
    steps = [UNATTACKED, *map(str, SEVERITIES)]
    columns = 4
    lines = -(-len(CORRUPTIONS) // columns)
    figure = Figure(figsize=(9.0, 0.6 + 2.2 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, corruption in zip(panels.flat, CORRUPTIONS, strict=False):
        for model in models:
            rows = model.corruptions[corruption.name]
            _draw(axes, order, model.name, [rows[s].figures.mean["pixel_ap"] for s in steps])
        axes.set_title(corruption.name, fontsize=8)
        axes.set_xticks(range(len(steps)), steps)
    # From 0, so that a loss is seen in proportion; the panels share the axis.
    panels.flat[0].set_ylim(bottom=0.0)
    return _with_legend(figure, panels[0][0])


def _draw(axes: Axes, order: Sequence[str], name: str, values: Sequence[float | None]) -> None:
    place = order.index(name)
    axes.plot(
        [np.nan if value is None else 100.0 * value for value in values],
        marker="o",
        markersize=3,
        color=_COLOURS[place % len(_COLOURS)],
        linestyle=_STYLES[place % len(_STYLES)],
        label=name,
    )
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _with_legend(figure: Figure, some: Axes) -> bytes:
    handles, labels = some.get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), loc="outside upper center", fontsize=8)
    return png(figure)
