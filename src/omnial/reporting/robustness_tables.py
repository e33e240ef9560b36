"""Tables of robustness figures, for the HTML report and for the study's page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from omnial.attacks.ball import UNATTACKED, UNTARGETED
from omnial.errors import shown
from omnial.reporting.tables import NOTHING
from omnial.robustness.attack_checks import Check
from omnial.robustness.corruptions import CORRUPTIONS, SEVERITIES
from omnial.robustness.evaluate_models import ModelRobustness, RobustnessResult
from omnial.robustness.published import LABELS, published
from omnial.robustness.transfer import LevelFigures

SEVERITY_KEYS: Final = (UNATTACKED, *map(str, SEVERITIES))


class Metric(NamedTuple):
    """One figure: its key, its words, and how it is shown."""

    key: str
    label: str
    unit: str
    scale: float = 100.0
    digits: int = 1

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}"

    def text(self, value: float | None) -> str:
        """The value as it stands in a table."""
        return NOTHING if value is None else f"{self.scale * value:.{self.digits}f}"

    def printed(self, value: float | None) -> str:
        """A published value, which is in this unit already."""
        return NOTHING if value is None else f"{value:.{self.digits}f}"


METRICS: Final = (
    Metric("pixel_ap", "Pixel AP", "%"),
    Metric("pixel_auroc", "Pixel AUROC", "%"),
    Metric("psnr", "PSNR", "dB", 1.0),
    Metric("ssim", "SSIM", "0..1", 1.0, 3),
)
"""The paper's four tables."""

IMAGE_AUROC: Final = Metric("image_auroc", "Image AUROC", "%")
_SHARES: Final = (
    Metric("false_alarms", "False alarms", "%"),
    Metric("missed", "Defects missed", "%"),
)
_VERDICTS: Final = (
    Metric("image_auroc", "image AUROC", "%"),
    Metric("missed", "defects missed", "%"),
    Metric("false_alarms", "false alarms", "%"),
    Metric("defective_score", "mean score of defects", "0..1", 1.0, 3),
    Metric("good_score", "mean score of good parts", "0..1", 1.0, 3),
)
_PERCEPTION: Final = (
    Metric("psnr", "PSNR", "dB", 1.0),
    Metric("ssim", "SSIM", "0..1", 1.0, 4),
    Metric("within_jnd", "pixels within the JND", "%"),
    Metric("channels_within_jnd", "every channel within the JND", "%"),
)

Row = tuple[str, Sequence[str]]
"""Label and cells."""


@dataclass(frozen=True)
class Table:
    """A table with a heading for groups of columns."""

    title: str
    groups: Sequence[tuple[str, int]]
    """Heading and number of columns of each."""
    columns: Sequence[str]
    """Heading of each."""
    rows: Sequence[Row]
    feet: Sequence[Row] = ()
    """Rows below the line: means, published averages."""

    @classmethod
    def of(
        cls,
        title: str,
        groups: Iterable[str],
        columns: Sequence[str],
        rows: Sequence[Row],
        feet: Sequence[Row] = (),
    ) -> "Table":
        """A table whose groups all have the same columns."""
        headings = [(group, len(columns)) for group in groups]
        return cls(title, headings, [*columns] * len(headings), rows, feet)


def transfer_tables(result: RobustnessResult) -> list[Table]:
    """The paper's four tables, with the published averages of the models' systems below."""
    levels = (*(level.name for level in result.levels), UNATTACKED)
    tables = _level_tables(result.attacks()["transfer"], result.classes, levels)
    found = []
    for metric, table in zip(METRICS, tables, strict=True):
        printed = published_averages(metric)
        averages = [
            printed.get((model.facts["system"], level))
            for model in result.models
            for level in levels
        ]
        if any(value is not None for value in averages):
            row = ("average of MVTec AD as published", [metric.printed(v) for v in averages])
            table = replace(table, feet=[*table.feet, row])
        found.append(table)
    return found


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
    systems = list(dict.fromkeys(row.system for row in published()))
    levels = list(dict.fromkeys(row.level for row in published()))
    rows = []
    for metric in METRICS:
        own = {(r.system, r.level): r for r in published() if r.metric == metric.key}
        other = ("mean_of_rows", "mean of the printed rows")
        if metric.key in ("psnr", "ssim"):
            # The mean of what may be running means says nothing.
            other = ("last_row", "last row (zipper)")
        for field, words in (("printed_average", "average as printed"), other):
            cells = [metric.printed(getattr(own[s, n], field)) for s in systems for n in levels]
            rows.append((f"{metric.title}: {words}", cells))
    groups = [f"{LABELS[system]}, as published" for system in systems]
    return Table.of("Published averages (MVTec AD)", groups, levels, rows)


def verdict_table(result: RobustnessResult) -> Table | None:
    """Verdicts on test images under attack; None where there were none."""
    models = {m.name: m.verdicts.levels for m in result.models if m.verdicts is not None}
    if not models:
        return None
    levels = sorted(next(iter(models.values())), key=float)
    rows = []
    for name, found in models.items():
        for metric in _VERDICTS:
            label = metric.label + (", %" if metric.unit == "%" else "")
            cells = [metric.text(getattr(found[level], metric.key)) for level in levels]
            rows.append((f"{shown(name)}: {label}", cells))
    words = "largest change of a value, in grey levels"
    return Table.of("Verdicts under attack", [words], levels, rows)


def corruption_tables(result: RobustnessResult) -> list[Table]:
    """Mean figures at the five severities of every corruption; empty where there were none."""
    models = [model for model in result.models if model.corruptions]

    def value(model: ModelRobustness, corruption: str, severity: str, key: str) -> float | None:
        found = model.corruptions[corruption][severity]
        return found.figures.mean[key] if key in found.figures.mean else getattr(found, key)

    found = []
    for metric in (*METRICS, IMAGE_AUROC, *_SHARES) if models else ():
        rows = []
        for corruption in CORRUPTIONS:
            values = [
                value(m, corruption.name, s, metric.key) for m in models for s in SEVERITY_KEYS
            ]
            rows.append((corruption.name, [metric.text(one) for one in values]))
        groups, columns = [shown(model.name) for model in models], ["as is", *SEVERITY_KEYS[1:]]
        found.append(Table.of(metric.title, groups, columns, rows))
    return found


def perception_table(result: RobustnessResult) -> Table:
    """How imperceptible each level is, by class and in the mean."""
    levels = [level.name for level in result.levels]
    rows = []
    for name in (*result.classes, "mean"):
        own = [result.perception[level][name] for level in levels]
        cells = [metric.text(getattr(row, metric.key)) for metric in _PERCEPTION for row in own]
        rows.append((shown(name), cells))
    groups = [m.label if m.key == "ssim" else m.title for m in _PERCEPTION]
    return Table.of("Attacked and clean samples", groups, levels, rows[:-1], rows[-1:])


def named_checks(result: RobustnessResult) -> list[tuple[str, Check]]:
    """Every check, with the attack that it belongs to."""
    rows = [("perturbations of the set", check) for check in result.set_checks]
    for model in result.models:
        rows += [(f"{attack} on {shown(model.name)}", check) for attack, check in model.checks()]
    return rows


def _level_tables(
    models: Mapping[str, Mapping[str, LevelFigures]], classes: Sequence[str], levels: Sequence[str]
) -> list[Table]:
    """A table for each metric: classes and their mean, the levels of each model side by side."""
    columns = ["clean" if level == UNATTACKED else level for level in levels]
    found = [figures[level] for figures in models.values() for level in levels]
    return [
        Table.of(
            metric.title,
            map(shown, models),
            columns,
            [
                (shown(name), [metric.text(row.classes[name][metric.key]) for row in found])
                for name in classes
            ],
            [("mean", [metric.text(row.mean[metric.key]) for row in found])],
        )
        for metric in METRICS
    ]
