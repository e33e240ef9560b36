"""The robustness report: figures, charts, two pictures and one HTML page that opens offline.

Charts and pictures are those of the study's page as well.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL.Image import Image

from omnial.attacks.pgd import UNATTACKED, UNTARGETED
from omnial.data.listing import mark_own
from omnial.errors import shown
from omnial.evaluation.result import picture
from omnial.files import locked, replace_together, scratch_in, writing
from omnial.inference.outlines import outlines
from omnial.inference.overlay import TRUTH, draw_outlines, heat
from omnial.reporting import robustness_tables as tables
from omnial.reporting.charts import line_arguments, line_style, png
from omnial.reporting.picture_grid import picture_grid
from omnial.reporting.render import data_uri, render
from omnial.reporting.robustness_tables import IMAGE_AUROC, METRICS, SEVERITY_KEYS
from omnial.reporting.tables import duration
from omnial.robustness.corruptions import CORRUPTIONS
from omnial.robustness.evaluate_models import RobustnessResult
from omnial.robustness.transfer import CAVEATS, FIGURES

REPORT_FILE: Final = "index.html"
_FIGURES_FILE, _TABLE_FILE = "robustness.json", "robustness.csv"
_TARGETED_FILE, _LEVELS_FILE = "targeted.png", "levels.png"
_SEVERITY_COLUMNS: Final = 4


def write_robustness(result: RobustnessResult, out: Path) -> Path:
    """Write robustness.json, robustness.csv, targeted.png, levels.png and index.html together.

    A folder that cannot be written to, or is in use, is a UserError. The result is the page.
    """
    names = (_FIGURES_FILE, _TABLE_FILE, _TARGETED_FILE, _LEVELS_FILE, REPORT_FILE)
    with locked(out), writing("The report", out), scratch_in(out) as scratch:
        content = json.dumps(result.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
        (scratch / _FIGURES_FILE).write_text(content + "\n", encoding="utf-8")
        _write_table(result, scratch / _TABLE_FILE)
        targeted_figure(result).save(scratch / _TARGETED_FILE, "PNG")
        levels_figure(result).save(scratch / _LEVELS_FILE, "PNG")
        pictures = [(scratch / name).read_bytes() for name in (_TARGETED_FILE, _LEVELS_FILE)]
        page = _page(result, *pictures)
        (scratch / REPORT_FILE).write_text(page, encoding="utf-8", newline="\n")
        mark_own(out, (_TARGETED_FILE, _LEVELS_FILE))
        replace_together(scratch, out, names)
    return out / REPORT_FILE


def _write_table(result: RobustnessResult, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("attack", "model", "level", "class", *FIGURES))
        attacks = result.attacks()
        for model in result.models:
            for corruption, severities in model.corruptions.items():
                figures = {severity: row.figures for severity, row in severities.items()}
                attacks.setdefault(corruption, {})[model.name] = figures
        for attack, models in attacks.items():
            for name, levels in models.items():
                for level, found in levels.items():
                    for class_name, row in [*found.classes.items(), ("mean", found.mean)]:
                        values = (row[figure] for figure in FIGURES)
                        table.writerow((attack, name, level, class_name, *values))


def _page(result: RobustnessResult, targeted: bytes, levels: bytes) -> str:
    facts, severities = result.set_facts, severity_chart(result)
    surrogate = facts["surrogate"]
    return render(
        "robustness.html",
        facts=[
            ("Set", shown(facts["folder"])),
            ("Attacked model", f"{surrogate['system']}, {surrogate['size']}"),
            ("Samples", f"{facts['samples']:,}, {facts['anomalous']:,} with a defect"),
            ("Attack", f"{facts['steps']} steps of {facts['alpha']:g} of the radius"),
            ("Seed", str(facts["seed"])),
            ("Time", duration(result.seconds)),
        ],
        legend=[(shown(m.name), line_style(index)) for index, m in enumerate(result.models)],
        failed=[shown(text) for text in result.failed()],
        checks=[(shown(attack), check) for attack, check in result.checks()],
        transfer=tables.transfer_tables(result),
        published=tables.published_table(),
        caveats=CAVEATS,
        white_box=tables.white_box_tables(result),
        verdicts=tables.verdict_table(result),
        corruptions=tables.corruption_tables(result.models),
        perception=tables.perception_table(result),
        level_chart=data_uri(level_chart(result)),
        severity_chart=None if severities is None else data_uri(severities),
        targeted=data_uri(targeted),
        levels=data_uri(levels),
        bad_files=[(shown(bad.path), shown(bad.reason)) for bad in result.bad_files],
    )


def level_chart(result: RobustnessResult, legend: Sequence[str] = ()) -> bytes:
    """Draw the figures over the radius as a PNG: a row an attack, a column a figure.

    The legend names the models; a user's names, which matplotlib might take for formulas, belong on
    the page instead.
    """
    attacks, metrics = result.attacks(), (*METRICS, IMAGE_AUROC)
    names = [model.name for model in result.models]
    steps = [UNATTACKED, *(level.name for level in reversed(UNTARGETED))]
    figure = Figure(figsize=(13.0, 0.6 + 2.4 * len(attacks)), layout="constrained")
    panels = figure.subplots(len(attacks), len(metrics), squeeze=False, sharex=True, sharey="col")
    for row, (attack, models) in zip(panels, attacks.items(), strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            for name, levels in models.items():
                values = [levels[step].mean[metric.key] for step in steps]
                _draw(axes, names.index(name), values, metric.scale)
            axes.set_title(f"{metric.title}, {attack.replace('_', ' ')}", fontsize=8)
            axes.set_xticks(range(len(steps)), steps)
            if metric.unit == "%":
                axes.set_ylim(0.0, 100.0)
    for axes in panels[-1]:
        axes.set_xlabel("largest change, grey levels", fontsize=8)
    return _finished(figure, panels[0][0], legend)


def severity_chart(result: RobustnessResult, legend: Sequence[str] = ()) -> bytes | None:
    """Draw pixel AP over the severities of each corruption as a PNG; None where there are none."""
    models = [(index, m) for index, m in enumerate(result.models) if m.corruptions]
    if not models:
        return None
    lines = -(-len(CORRUPTIONS) // _SEVERITY_COLUMNS)
    figure = Figure(figsize=(9.0, 0.6 + 2.2 * lines), layout="constrained")
    panels = figure.subplots(lines, _SEVERITY_COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes, corruption in zip(panels.flat, CORRUPTIONS, strict=False):
        for index, model in models:
            rows = model.corruptions[corruption.name]
            values = [rows[key].figures.mean["pixel_ap"] for key in SEVERITY_KEYS]
            _draw(axes, index, values, 100.0)
        axes.set_title(corruption.name, fontsize=8)
        axes.set_xticks(range(len(SEVERITY_KEYS)), SEVERITY_KEYS)
    # From 0, so that a loss is seen in proportion; the panels share the axis.
    panels.flat[0].set_ylim(bottom=0.0)
    return _finished(figure, panels[0][0], legend)


def targeted_figure(result: RobustnessResult) -> Image:
    """A targeted sample of each class through each model (the paper's Figure 9)."""
    targeted = next((level.name for level in result.levels if level.targeted), UNATTACKED)
    headings = ["sample", "defect", f"attacked {targeted}"]
    for model in result.models:
        headings += [f"{shown(model.name)} {what}" for what in ("rebuilt", "clean", "attacked")]
    rows = []
    for example in result.examples:
        clean = picture(example.images[UNATTACKED][0])
        borders = [o.polygon for o in outlines(example.mask.astype(np.float32), 0.5)]
        cells: list[NDArray[np.uint8] | None] = [clean, draw_outlines(clean, borders, TRUTH)]
        cells.append(picture(example.images[targeted][0]))
        for model in result.models:
            before, after = (example.predictions[model.name][x] for x in (UNATTACKED, targeted))
            rebuilt = after.reconstruction
            cells.append(None if rebuilt is None else picture(rebuilt[0]))
            cells += [heat(before.score_maps[0]), heat(after.score_maps[0])]
        rows.append((example.class_name, cells))
    return picture_grid(headings, rows)


def levels_figure(result: RobustnessResult) -> Image:
    """The levels of each class, and each model's score maps of them (the paper's Figure 10)."""
    names = [UNATTACKED, *(level.name for level in reversed(result.levels))]
    headings = ["clean" if name == UNATTACKED else name for name in names]
    rows: list[tuple[str, Sequence[NDArray[np.uint8] | None]]] = []
    for example in result.examples:
        rows.append((example.class_name, [picture(example.images[name][0]) for name in names]))
        for model in result.models:
            maps = [example.predictions[model.name][name].score_maps[0] for name in names]
            rows.append((f"{example.class_name}: scores of {model.name}", list(map(heat, maps))))
    return picture_grid(headings, rows)


def _draw(axes: Axes, index: int, values: Sequence[float | None], scale: float) -> None:
    drawn = [np.nan if value is None else scale * value for value in values]
    axes.plot(drawn, marker="o", markersize=3, label=str(index), **line_arguments(index))
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _finished(figure: Figure, axes: Axes, legend: Sequence[str]) -> bytes:
    if legend:
        # Not every model has been asked every question.
        names = [legend[int(str(line.get_label()))] for line in axes.lines]
        figure.legend(axes.lines, names, ncols=len(names), loc="outside upper center", fontsize=8)
    return png(figure)
