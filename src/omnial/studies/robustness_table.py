"""The robustness study's page: the paper's four tables, white box, verdicts, corruptions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omnial.reporting import robustness_page as tables
from omnial.reporting.robustness_page import METRICS, Metric, Table
from omnial.reporting.tables import NOTHING
from omnial.robustness.assessment import Assessment
from omnial.robustness.figures import LevelFigures
from omnial.robustness.levels import LEVELS, UNATTACKED, UNTARGETED
from omnial.robustness.published import CAVEATS, LABELS, published
from omnial.studies import markdown

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
    parts = [
        "# Robustness: attacks, and a worse camera\n",
        "What does each model make of samples that were changed by a few grey levels on purpose, "
        "and of images as a worse camera gives them?\n",
        f"    {command}\n",
    ]
    if missing:
        parts.append(f"Not finished: {', '.join(missing)}.\n")
    if found is not None:
        parts += [_setting(found, answers), *_images(charts)]
        parts += ["## Is it an attack?\n", _checks(found)]
        parts += ["## Transfer: perturbations of the surrogate\n", _transfer(found)]
        parts += [_white_box(found), _verdicts(found), _corruptions(found)]
        parts += ["## Can an eye see it?\n", _perception(found)]
        parts += [*_images(pictures)]
    parts.append(markdown.remarks(remarks))
    if found is not None:
        parts += ["## Each class\n", "Perturbations of the surrogate.\n"]
        parts += [_titled(table) for table in tables.transfer_tables(found)]
        boxes = tables.white_box_tables(found)
        parts += ["White boxes.\n", *map(_titled, boxes)] if boxes else []
        parts.append(_titled(tables.perception_table(found)))
    return "\n".join(part for part in parts if part)


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
        f"five levels of {facts['steps']} steps. One seed. {markdown.machines(answers)} Attacks "
        f"and evaluations took {hours:.1f} hours, the trainings not counted.{again}\n"
    )


def _checks(found: Assessment) -> str:
    lines = markdown.head(["attack", "check", "verdict", "numbers"])
    for row in tables.checks(found):
        word = "passed" if row.check.passed else "**failed**"
        lines.append(markdown.line([row.attack, row.check.name, word, row.check.detail]))
    return markdown.table(lines)


def _transfer(found: Assessment) -> str:
    names = [level.name for level in LEVELS]
    rows = [_means(model.name, model.transfer, names) for model in found.models]
    lines = [*_head(names), *(line for group in rows for line in group)]
    for system in dict.fromkeys(row.system for row in published()):
        for metric in METRICS:
            printed = {
                row.level: row.printed_average
                for row in published()
                if row.system == system and row.metric == metric.key
            }
            cells = [metric.printed(printed[name]) for name in names]
            label = f"{LABELS[system]}, **as published** for MVTec AD"
            lines.append(markdown.line([label, _words(metric), *cells, NOTHING]))
    caveats = "\n".join(f"- {text}" for text in CAVEATS)
    return "\n".join(lines) + "\n\n" + caveats + "\n"


def _white_box(found: Assessment) -> str:
    names = [level.name for level in UNTARGETED]
    lines = [
        line
        for model in found.models
        if model.white_box is not None
        for line in _means(model.name, model.white_box.levels, names)
    ]
    if not lines:
        return ""
    title = "## White box: each model attacked itself\n"
    return "\n".join([title, *_head(names), *lines]) + "\n"


def _verdicts(found: Assessment) -> str:
    table = tables.score_table(found)
    if table is None:
        return ""
    words = "Columns: the largest change of a value, in grey levels; 0 is unattacked.\n"
    return "\n".join(["## Verdicts: hide a defect, invent a defect\n", words, _markdown(table)])


def _corruptions(found: Assessment) -> str:
    parts = []
    for model in found.models:
        if not model.corruptions:
            continue
        only = replace(found, models=(model,))
        wanted = ("Pixel AP, %", "Image AUROC, %", "False alarms, %", "Defects missed, %")
        parts += [
            _titled(table) for table in tables.corruption_tables(only) if table.title in wanted
        ]
    words = "Severity 0 (`as is`) to 5; verdicts are at each model's own thresholds.\n"
    return "\n".join(["## A worse camera\n", words, *parts]) if parts else ""


def _perception(found: Assessment) -> str:
    """The means over classes, a line a level."""
    table = tables.perception_table(found)
    ((_, cells),) = table.feet
    names = table.columns[: table.groups[0][1]]
    lines = markdown.head(["mean over classes", *(group for group, _ in table.groups)])
    for place, name in enumerate(names):
        lines.append(markdown.line([name, *cells[place :: len(names)]]))
    return markdown.table(lines)


def _head(names: Sequence[str]) -> list[str]:
    return markdown.head(["model", "mean over classes", *names, "clean"])


def _means(name: str, levels: Mapping[str, LevelFigures], names: Sequence[str]) -> list[str]:
    return [
        markdown.line(
            [
                name,
                _words(metric),
                *(metric.text(levels[level].mean[metric.key]) for level in (*names, UNATTACKED)),
            ]
        )
        for metric in METRICS
    ]


def _words(metric: Metric) -> str:
    return f"{metric.label}, {metric.unit}"


def _images(names: Sequence[str]) -> list[str]:
    return [markdown.picture(name, _CAPTIONS[name]) for name in names]


def _titled(table: Table) -> str:
    return f"**{table.title}**\n\n{_markdown(table)}"


def _markdown(table: Table) -> str:
    """A table whose groups of columns go into the columns' headings."""
    groups = [title for title, span in table.groups for _ in range(span)]
    several = len(table.groups) > 1
    heads = [
        f"{group}: {column}" if several or not table.groups else column
        for group, column in zip(groups, table.columns, strict=True)
    ]
    first = "" if several or not table.groups else table.groups[0][0]
    lines = markdown.head([first, *heads])
    lines += [markdown.line([label, *cells]) for label, cells in (*table.rows, *table.feet)]
    return markdown.table(lines)
