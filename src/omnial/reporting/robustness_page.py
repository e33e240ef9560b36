"""What stands on the robustness report's page, put into the order of reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from omnial.errors import shown
from omnial.evaluation.gallery import picture
from omnial.inference.outlines import outlines
from omnial.inference.overlay import TRUTH, draw_outlines, heat
from omnial.reporting.charts import Chart, LineStyle, line_style, step_chart
from omnial.reporting.picture_grid import picture_grid
from omnial.reporting.tables import NOTHING
from omnial.robustness.assessment import Assessment, ModelAssessment
from omnial.robustness.checks import Check
from omnial.robustness.corruptions import CORRUPTIONS, SEVERITIES
from omnial.robustness.figures import LevelFigures
from omnial.robustness.levels import UNATTACKED
from omnial.robustness.published import LABELS, published


@dataclass(frozen=True)
class Metric:
    """One figure: its key, its words, and how it is shown."""

    key: str
    label: str
    unit: str
    scale: float
    digits: int

    def text(self, value: float | None) -> str:
        """The value as it stands in a table."""
        return NOTHING if value is None else f"{self.scale * value:.{self.digits}f}"

    def printed(self, value: float) -> str:
        """A published value, which is in this unit already."""
        return f"{value:.{self.digits}f}"


METRICS: Final = (
    Metric("pixel_ap", "Pixel AP", "%", 100.0, 1),
    Metric("pixel_auroc", "Pixel AUROC", "%", 100.0, 1),
    Metric("psnr", "PSNR", "dB", 1.0, 1),
    Metric("ssim", "SSIM", "0..1", 1.0, 3),
)
"""The paper's four tables."""

_IMAGE: Final = Metric("image_auroc", "Image AUROC", "%", 100.0, 1)
_SHARE: Final = Metric("share", "share", "%", 100.0, 1)
_SCORE: Final = Metric("score", "score", "", 1.0, 3)
_PERCEIVED: Final = (
    ("psnr", 1.0, 1),
    ("ssim", 1.0, 4),
    ("within_jnd", 100.0, 1),
    ("channels_within_jnd", 100.0, 1),
)


@dataclass(frozen=True)
class Table:
    """A table with a heading for groups of columns.

    Attributes:
        title: What it shows.
        groups: Heading and number of columns of each group.
        columns: Heading of every column.
        rows: Label and cells of every row.
        feet: The same for rows below the line: means, published averages.
    """

    title: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    feet: Sequence[tuple[str, Sequence[str]]] = ()


@dataclass(frozen=True)
class TitledChart:
    """A chart with its title."""

    title: str
    image: Chart


@dataclass(frozen=True)
class CheckRow:
    """One check of an attack."""

    attack: str
    check: Check


def legend(assessment: Assessment) -> list[tuple[str, LineStyle]]:
    """Name and look of every model's line."""
    return [(shown(m.name), line_style(index)) for index, m in enumerate(assessment.models)]


def transfer_tables(assessment: Assessment) -> list[Table]:
    """The paper's four tables, per class and mean, the levels of each model side by side."""
    levels = (*(level.name for level in assessment.levels), UNATTACKED)
    models = {model.name: model.transfer for model in assessment.models}
    tables = []
    for metric in METRICS:
        table = _level_table(metric, assessment, models, levels)
        beside = _published_row(metric, assessment, levels)
        if beside is not None:
            table = replace(table, feet=[*table.feet, beside])
        tables.append(table)
    return tables


def white_box_tables(assessment: Assessment) -> list[Table]:
    """The same for attacks on each model itself; empty where there were none."""
    found = {m.name: m.white_box.levels for m in assessment.models if m.white_box is not None}
    if not found:
        return []
    names = list(dict.fromkeys(name for levels in found.values() for name in levels))
    order = sorted((n for n in names if n != UNATTACKED), key=float, reverse=True)
    return [_level_table(metric, assessment, found, (*order, UNATTACKED)) for metric in METRICS]


def published_table() -> Table:
    """The published averages beside each other: as printed, mean of rows, last row."""
    systems = list(dict.fromkeys(row.system for row in published()))
    levels = list(dict.fromkeys(row.level for row in published()))
    rows = []
    for metric in METRICS:
        own = {(r.system, r.level): r for r in published() if r.metric == metric.key}
        for what, words in (
            ("printed_average", "average as printed"),
            ("mean_of_rows", "mean of the printed rows"),
            ("last_row", "last row (zipper)"),
        ):
            if what == "mean_of_rows" and metric.key in ("psnr", "ssim"):
                continue  # the mean of what may be running means says nothing
            if what == "last_row" and metric.key not in ("psnr", "ssim"):
                continue
            cells = [metric.printed(getattr(own[s, n], what)) for s in systems for n in levels]
            rows.append((f"{metric.label}, {metric.unit}: {words}", cells))
    return Table(
        "Published averages (MVTec AD)",
        [(f"{LABELS[system]}, as published", len(levels)) for system in systems],
        levels * len(systems),
        rows,
    )


def score_table(assessment: Assessment) -> Table | None:
    """Verdicts on test images under attack; None where there were none."""
    rows = []
    levels: list[str] = []
    for model in assessment.models:
        if model.scores is None:
            continue
        found = model.scores.levels
        levels = [UNATTACKED, *sorted((n for n in found if n != UNATTACKED), key=float)]
        for key, label, metric in (
            ("image_auroc", "image AUROC, %", _IMAGE),
            ("missed", "defects missed, %", _SHARE),
            ("false_alarms", "false alarms, %", _SHARE),
            ("defective_score", "mean score of defects", _SCORE),
            ("good_score", "mean score of good parts", _SCORE),
        ):
            cells = [metric.text(getattr(found[level], key)) for level in levels]
            rows.append((f"{shown(model.name)}: {label}", cells))
    if not rows:
        return None
    words = "largest change of a value, in grey levels"
    return Table("Verdicts under attack", [(words, len(levels))], levels, rows)


def corruption_tables(assessment: Assessment) -> list[Table]:
    """Mean figures at the five severities of every corruption; empty where there were none."""
    models = [model for model in assessment.models if model.corruptions]
    if not models:
        return []
    severities = [UNATTACKED, *map(str, SEVERITIES)]
    tables = []
    for metric in (*METRICS, _IMAGE):
        rows = []
        for corruption in CORRUPTIONS:
            cells = [
                metric.text(model.corruptions[corruption.name][severity].figures.mean[metric.key])
                for model in models
                for severity in severities
            ]
            rows.append((corruption.name, cells))
        tables.append(_corruption_table(f"{metric.label}, {metric.unit}", models, rows))
    for key, label in (("false_alarms", "False alarms, %"), ("missed", "Defects missed, %")):
        rows = [
            (
                corruption.name,
                [
                    _SHARE.text(getattr(model.corruptions[corruption.name][severity], key))
                    for model in models
                    for severity in severities
                ],
            )
            for corruption in CORRUPTIONS
        ]
        tables.append(_corruption_table(label, models, rows))
    return tables


def perception_table(assessment: Assessment) -> Table:
    """How imperceptible each level is, by class and in the mean."""
    levels = [level.name for level in assessment.levels]
    rows = []
    for name in (*assessment.classes, "mean"):
        cells: list[str] = []
        for field, scale, digits in _PERCEIVED:
            for level in levels:
                value = scale * getattr(assessment.perception[level][name], field)
                cells.append(f"{value:.{digits}f}")
        rows.append((shown(name), cells))
    groups = ("PSNR, dB", "SSIM", "pixels within the JND, %", "every channel within the JND, %")
    return Table(
        "Attacked beside clean samples",
        [(group, len(levels)) for group in groups],
        levels * len(groups),
        rows[:-1],
        rows[-1:],
    )


def checks(assessment: Assessment) -> list[CheckRow]:
    """Every check of every attack."""
    rows = [CheckRow("perturbations of the set", check) for check in assessment.set_checks]
    for model in assessment.models:
        rows += [CheckRow(f"{attack} on {shown(model.name)}", c) for attack, c in model.checks()]
    return rows


def level_charts(assessment: Assessment) -> list[TitledChart]:
    """Mean figures over the radius, for transfer and for white boxes."""
    steps = ["0", "1", "2", "4", "8"]
    charts = []
    for attack, levels in (
        ("transfer", {m.name: m.transfer for m in assessment.models}),
        (
            "white box",
            {m.name: m.white_box.levels for m in assessment.models if m.white_box is not None},
        ),
    ):
        if not levels:
            continue
        for metric in METRICS:
            series = [
                [_mean(levels.get(model.name, {}), step, metric) for step in steps]
                for model in assessment.models
            ]
            title = f"{metric.label}, {attack}"
            label = f"{metric.label}" + ("" if metric.key != "psnr" else ", dB")
            charts.append(
                TitledChart(
                    title,
                    step_chart(
                        *(title, "largest change of a value, grey levels", label),
                        *(steps, series, metric.key != "psnr"),
                    ),
                )
            )
    return charts


def severity_charts(assessment: Assessment) -> list[TitledChart]:
    """Pixel AP over the severity of every corruption; empty where there were none."""
    models = [model for model in assessment.models if model.corruptions]
    if not models:
        return []
    steps = [UNATTACKED, *map(str, SEVERITIES)]
    charts = []
    for corruption in CORRUPTIONS:
        series = [
            [
                model.corruptions[corruption.name][step].figures.mean["pixel_ap"]
                if model.corruptions
                else None
                for step in steps
            ]
            for model in assessment.models
        ]
        title = f"{corruption.name} ({', '.join(f'{a:g}' for a in corruption.amounts)})"
        image = step_chart(title, "severity", "Pixel AP", steps, series)
        charts.append(TitledChart(f"{title} {corruption.unit}", image))
    return charts


def targeted_figure(assessment: Assessment) -> NDArray[np.uint8]:
    """What each model makes of a targeted sample of each class (the paper's Figure 9)."""
    targeted = next((level.name for level in assessment.levels if level.targeted), UNATTACKED)
    names = [shown(model.name) for model in assessment.models]
    headings = ["sample", "defect", f"attacked {targeted}"]
    for name in names:
        headings += [f"{name} rebuilt", f"{name} clean", f"{name} attacked"]
    rows = []
    for shot in assessment.shots:
        clean = picture(shot.images[UNATTACKED])
        cells: list[NDArray[np.uint8] | None] = [
            clean,
            _truth(clean, shot.mask),
            picture(shot.images[targeted]),
        ]
        for model in assessment.models:
            rebuilt = shot.reconstructions[model.name]
            maps = shot.score_maps[model.name]
            cells.append(None if rebuilt is None else picture(rebuilt))
            cells += [heat(maps[UNATTACKED]), heat(maps[targeted])]
        rows.append((shot.class_name, cells))
    return np.asarray(picture_grid(headings, rows))


def levels_figure(assessment: Assessment) -> NDArray[np.uint8]:
    """The levels of each class, and what each model makes of them (the paper's Figure 10)."""
    names = [UNATTACKED, *(level.name for level in reversed(assessment.levels))]
    headings = ["clean" if name == UNATTACKED else name for name in names]
    rows: list[tuple[str, list[NDArray[np.uint8] | None]]] = []
    for shot in assessment.shots:
        rows.append((shot.class_name, [picture(shot.images[name]) for name in names]))
        for model in assessment.models:
            maps = shot.score_maps[model.name]
            label = f"{shot.class_name}: scores of {model.name}"
            rows.append((label, [heat(maps[name]) for name in names]))
    return np.asarray(picture_grid(headings, rows))


def _level_table(
    metric: Metric,
    assessment: Assessment,
    models: Mapping[str, Mapping[str, LevelFigures]],
    levels: Sequence[str],
) -> Table:
    def cells(pick: str | None) -> list[str]:
        found = []
        for rows in models.values():
            for level in levels:
                figures = rows[level].mean if pick is None else rows[level].classes[pick]
                found.append(metric.text(figures[metric.key]))
        return found

    columns = ["clean" if level == UNATTACKED else level for level in levels]
    return Table(
        f"{metric.label}, {metric.unit}",
        [(shown(name), len(levels)) for name in models],
        columns * len(models),
        [(shown(name), cells(name)) for name in assessment.classes],
        [("mean", cells(None))],
    )


def _published_row(
    metric: Metric, assessment: Assessment, levels: Sequence[str]
) -> tuple[str, Sequence[str]] | None:
    """The printed averages of the models' systems; None where none of them is published."""
    printed = {
        (r.system, r.level): r.printed_average for r in published() if r.metric == metric.key
    }
    wanted = [(model.facts["system"], level) for model in assessment.models for level in levels]
    if not any(key in printed for key in wanted):
        return None
    cells = [metric.printed(printed[key]) if key in printed else NOTHING for key in wanted]
    return "average of MVTec AD as published", cells


def _corruption_table(
    title: str, models: Sequence[ModelAssessment], rows: Sequence[tuple[str, Sequence[str]]]
) -> Table:
    steps = ["as is", *map(str, SEVERITIES)]
    groups = [(shown(model.name), len(steps)) for model in models]
    return Table(title, groups, steps * len(models), rows)


def _mean(levels: Mapping[str, LevelFigures], step: str, metric: Metric) -> float | None:
    return levels[step].mean[metric.key] if step in levels else None


def _truth(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    borders = [outline.polygon for outline in outlines(mask.astype(np.float32), 0.5)]
    return draw_outlines(image, borders, TRUTH)
