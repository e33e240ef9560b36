"""Tables of robustness figures, for the HTML report and for the study's page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from omnial.attacks.pgd import UNATTACKED, UNTARGETED
from omnial.errors import shown
from omnial.reporting.tables import Metric, Table
from omnial.robustness.corruptions import CORRUPTIONS, SEVERITIES
from omnial.robustness.evaluate_models import ModelRobustness, RobustnessResult
from omnial.robustness.transfer import LABELS, LevelFigures, published, published_figures

SEVERITY_KEYS: Final = (UNATTACKED, *map(str, SEVERITIES))
METRICS: Final = (
    Metric("pixel_ap", "Pixel AP", "%"),
    Metric("pixel_auroc", "Pixel AUROC", "%"),
    Metric("psnr", "PSNR", "dB"),
    Metric("ssim", "SSIM", "0..1", 3),
)
"""The paper's four tables."""
IMAGE_AUROC: Final = Metric("image_auroc", "Image AUROC", "%")
SHARES: Final = (
    Metric("false_alarms", "False alarms", "%"),
    Metric("missed", "Defects missed", "%"),
)
"""At the model's own thresholds."""
PERCEPTION: Final = (
    Metric("psnr", "PSNR", "dB"),
    Metric("ssim", "SSIM", digits=4),
    Metric("within_jnd", "pixels within the JND", "%"),
    Metric("channels_within_jnd", "every channel within the JND", "%"),
)
"""How imperceptible a perturbation is."""
_VERDICTS: Final = (
    Metric("image_auroc", "image AUROC", "%"),
    Metric("missed", "defects missed", "%"),
    Metric("false_alarms", "false alarms", "%"),
    Metric("defective_score", "mean score of defects", digits=3),
    Metric("good_score", "mean score of good parts", digits=3),
)


def transfer_tables(result: RobustnessResult) -> list[Table]:
    """The paper's four tables, with the published figures of the models' systems.

    Those of a class of MVTec AD stand below the class of that name, the averages below the means.
    """
    levels = (*(level.name for level in result.levels), UNATTACKED)
    columns = [(model.facts["system"], level) for model in result.models for level in levels]
    tables = _level_tables(result.attacks()["transfer"], result.classes, levels)
    for number, (table, metric) in enumerate(zip(tables, METRICS, strict=True)):
        rows: list[tuple[str, Sequence[str]]] = []
        for name, row in zip(result.classes, table.rows, strict=True):
            rows += [row, *_as_published(name, metric, columns)]
        feet = [*table.feet, *_as_published("average", metric, columns)]
        tables[number] = table._replace(rows=rows, feet=feet)
    return tables


def white_box_tables(result: RobustnessResult) -> list[Table]:
    """The same for attacks on each model itself; empty where there were none."""
    boxes = result.attacks().get("white_box")
    levels = (*(level.name for level in UNTARGETED), UNATTACKED)
    return [] if boxes is None else _level_tables(boxes, result.classes, levels)


def published_averages(metric: Metric) -> dict[tuple[str, str], float]:
    """Printed averages of a metric, by system and level."""
    return {(r.system, r.level): r.printed_average for r in published() if r.metric == metric.key}


def published_table() -> Table:
    """The published averages: as printed, and the mean of rows or the last row."""
    levels = list(dict.fromkeys(row.level for row in published()))
    rows = []
    for metric in METRICS:
        own = {(r.system, r.level): r for r in published() if r.metric == metric.key}
        other = ("mean_of_rows", "mean of the printed rows")
        if metric.key in ("psnr", "ssim"):
            # The mean of what may be running means says nothing.
            other = ("last_row", "last row (zipper)")
        for field, words in (("printed_average", "average as printed"), other):
            cells = [metric.printed(getattr(own[s, n], field)) for s in LABELS for n in levels]
            rows.append((f"{metric.title}: {words}", cells))
    groups = [f"{label}, as published" for label in LABELS.values()]
    return Table("Published averages (MVTec AD)", groups, levels, rows)


def verdict_table(result: RobustnessResult) -> Table | None:
    """Verdicts on test images under attack; None where there were none."""
    models = {shown(m.name): m.verdicts.levels for m in result.models if m.verdicts is not None}
    if not models:
        return None
    levels = sorted(next(iter(models.values())), key=float)
    rows = [
        (f"{name}: {metric.title}", [metric.text(found[level][metric.key]) for level in levels])
        for name, found in models.items()
        for metric in _VERDICTS
    ]
    return Table(
        "Verdicts under attack", ["largest change of a value, in grey levels"], levels, rows
    )


def corruption_tables(
    models: Iterable[ModelRobustness], metrics: Sequence[Metric] = (*METRICS, IMAGE_AUROC, *SHARES)
) -> list[Table]:
    """Mean figures at the five severities of every corruption; empty where there were none."""
    own = [model for model in models if model.corruptions]

    def cells(corruption: str, metric: Metric) -> list[str]:
        rows = [model.corruptions[corruption][key] for model in own for key in SEVERITY_KEYS]
        return [metric.text({**row.figures.mean, **vars(row)}[metric.key]) for row in rows]

    groups, columns = [shown(model.name) for model in own], ["as is", *SEVERITY_KEYS[1:]]
    return [
        Table(metric.title, groups, columns, [(c.name, cells(c.name, metric)) for c in CORRUPTIONS])
        for metric in (metrics if own else ())
    ]


def perception_table(result: RobustnessResult) -> Table:
    """How imperceptible each level is, by class and in the mean."""
    levels = [level.name for level in result.levels]
    rows = []
    for name in (*result.classes, "mean"):
        own = [result.perception[level][name] for level in levels]
        cells = [metric.text(row[metric.key]) for metric in PERCEPTION for row in own]
        rows.append((shown(name), cells))
    groups = [metric.title for metric in PERCEPTION]
    return Table("Attacked and clean samples", groups, levels, rows[:-1], rows[-1:])


def _level_tables(
    models: Mapping[str, Mapping[str, LevelFigures]], classes: Sequence[str], levels: Sequence[str]
) -> list[Table]:
    """A table for each metric: classes and their mean, the levels of each model side by side."""
    columns = ["clean" if level == UNATTACKED else level for level in levels]
    found = [figures[level] for figures in models.values() for level in levels]

    def cells(metric: Metric, name: str | None = None) -> list[str]:
        figures = [row.mean if name is None else row.classes[name] for row in found]
        return [metric.text(one[metric.key]) for one in figures]

    return [
        Table(
            metric.title,
            [shown(name) for name in models],
            columns,
            [(shown(name), cells(metric, name)) for name in classes],
            [("mean", cells(metric))],
        )
        for metric in METRICS
    ]


def _as_published(
    name: str, metric: Metric, columns: Sequence[tuple[object, str]]
) -> list[tuple[str, Sequence[str]]]:
    """The published row of a class, or `average`, for columns of system and level; or none."""
    figures = published_figures()
    values = [figures.get((metric.key, level, str(system), name)) for system, level in columns]
    if all(value is None for value in values):
        return []
    return [(f"{name} of MVTec AD as published", [metric.printed(value) for value in values])]
