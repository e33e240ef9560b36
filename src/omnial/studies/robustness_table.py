"""The robustness study's page: the paper's four tables, white box, verdicts, corruptions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omnial.reporting import robustness_page as tables
from omnial.reporting.render import render
from omnial.reporting.robustness_page import METRICS, Metric
from omnial.reporting.tables import NOTHING
from omnial.robustness.assessment import Assessment
from omnial.robustness.figures import LevelFigures
from omnial.robustness.levels import LEVELS, UNATTACKED, UNTARGETED
from omnial.robustness.published import CAVEATS, LABELS, published
from omnial.studies.markdown import Table, machines

_CAPTIONS: Mapping[str, str] = {
    "levels.png": "Means over classes; above perturbations of the surrogate, below white boxes",
    "severities.png": "Pixel AP over the severity of each corruption",
    "targeted.jpg": "What each model makes of a targeted sample, on the demo data, after a "
    "training there with a quarter of the images",
    "levels.jpg": "The five levels, and what each model makes of them, likewise",
}


def page(
    found: Assessment | None,
    answers: Sequence[Mapping[str, Any]],
    *,
    command: str,
    charts: Sequence[str],
    pictures: Sequence[str],
    missing: Sequence[str],
    remarks: str,
) -> str:
    """The page in Markdown.

    Args:
        found: What is known; None before the first model is judged.
        answers: Every part's file, for machines, times and weights.
        command: The command that repeats the study.
        charts: File names of the charts.
        pictures: File names of the paper's two figures.
        missing: Parts that are not answered yet, in words.
        remarks: What its author says about the figures, kept from page to page.
    """
    values: dict[str, object] = {"captions": _CAPTIONS, "caveats": CAVEATS}
    if found is not None:
        names = [level.name for level in LEVELS]
        untargeted = [level.name for level in UNTARGETED]
        boxes = {m.name: m.white_box.levels for m in found.models if m.white_box is not None}
        scores = tables.score_table(found)
        values |= {
            "setting": _setting(found, answers),
            "checks": _checks(found),
            "transfer": _means(
                {model.name: model.transfer for model in found.models}, names, _published(names)
            ),
            "white_box": _means(boxes, untargeted),
            "verdicts": None if scores is None else _flat(scores)[1],
            "corruptions": _corruptions(found),
            "perception": _perception(found),
            "transfer_of_classes": [_flat(table) for table in tables.transfer_tables(found)],
            "white_box_of_classes": [_flat(table) for table in tables.white_box_tables(found)],
            "perception_of_classes": _flat(tables.perception_table(found)),
        }
    return render(
        "robustness.md",
        found=found is not None,
        command=command,
        charts=charts,
        pictures=pictures,
        missing=missing,
        remarks=remarks,
        **values,
    )


def _setting(found: Assessment, answers: Sequence[Mapping[str, Any]]) -> str:
    """Set, machines, time."""
    facts = found.set_facts
    hours = sum(a["seconds"] for a in answers) / 3600.0
    sources = {a["surrogate_sha256"] for a in answers} - {None}
    again = ""
    if len(sources) > 1:
        again = (
            f" The weights that the set was made from did not last: it was made {len(sources)} "
            "times, from the same training on other machines, and no model saw quite the same one."
        )
    return (
        f"The set: {facts['samples']:,} samples of {len(found.classes)} classes "
        f"({', '.join(found.classes)}), {facts['anomalous']:,} with a synthesized defect, each at "
        f"five levels of {facts['steps']} steps. One seed. {machines(answers)} Attacks "
        f"and evaluations took {hours:.1f} hours, the trainings not counted.{again}"
    )


def _checks(found: Assessment) -> Table:
    rows = []
    for row in tables.checks(found):
        word = "passed" if row.check.passed else "**failed**"
        rows.append([row.attack, row.check.name, word, row.check.detail])
    return Table(["attack", "check", "verdict", "numbers"], rows)


def _means(
    models: Mapping[str, Mapping[str, LevelFigures]],
    names: Sequence[str],
    published_rows: Sequence[Sequence[str]] = (),
) -> Table:
    """Means over classes, a row a model and metric, a column a level."""
    rows = [
        [
            name,
            _words(metric),
            *(metric.text(levels[n].mean[metric.key]) for n in (*names, UNATTACKED)),
        ]
        for name, levels in models.items()
        for metric in METRICS
    ]
    columns = ["model", "mean over classes", *names, "clean"]
    return Table(columns, [*rows, *published_rows])


def _published(names: Sequence[str]) -> list[list[str]]:
    """The averages that were printed, in rows like those of `_means`."""
    rows = []
    for system in dict.fromkeys(row.system for row in published()):
        for metric in METRICS:
            printed = {
                row.level: row.printed_average
                for row in published()
                if row.system == system and row.metric == metric.key
            }
            cells = [metric.printed(printed[name]) for name in names]
            label = f"{LABELS[system]}, **as published** for MVTec AD"
            rows.append([label, _words(metric), *cells, NOTHING])
    return rows


def _corruptions(found: Assessment) -> list[tuple[str, Table]]:
    wanted = ("Pixel AP, %", "Image AUROC, %", "False alarms, %", "Defects missed, %")
    return [
        _flat(table)
        for model in found.models
        if model.corruptions
        for table in tables.corruption_tables(replace(found, models=(model,)))
        if table.title in wanted
    ]


def _perception(found: Assessment) -> Table:
    """The means over classes, a row a level."""
    table = tables.perception_table(found)
    ((_, cells),) = table.feet
    names = table.columns[: table.groups[0][1]]
    rows = [[name, *cells[place :: len(names)]] for place, name in enumerate(names)]
    return Table(["mean over classes", *(group for group, _ in table.groups)], rows)


def _words(metric: Metric) -> str:
    return f"{metric.label}, {metric.unit}"


def _flat(table: tables.Table) -> tuple[str, Table]:
    """Title and table, its groups of columns in the columns' headings."""
    groups = [title for title, span in table.groups for _ in range(span)]
    several = len(table.groups) > 1
    heads = [
        f"{group}: {column}" if several or not table.groups else column
        for group, column in zip(groups, table.columns, strict=True)
    ]
    first = "" if several or not table.groups else table.groups[0][0]
    rows = [[label, *cells] for label, cells in (*table.rows, *table.feet)]
    return table.title, Table([first, *heads], rows)
