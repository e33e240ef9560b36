"""The robustness study's page: the paper's four tables, white box, verdicts, corruptions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from omnial.attacks.pgd import LEVELS, UNATTACKED, UNTARGETED, Level
from omnial.reporting import robustness_tables as tables
from omnial.reporting.render import render
from omnial.reporting.robustness_tables import IMAGE_AUROC, METRICS, PERCEPTION, SHARES
from omnial.reporting.tables import NOTHING, Table
from omnial.robustness.evaluate_models import RobustnessResult
from omnial.robustness.transfer import CAVEATS, LABELS, LevelFigures
from omnial.studies.study_page import machines

_CAPTIONS: Final = {
    "levels.png": "Means over classes; above perturbations of the surrogate, below white boxes",
    "severities.png": "Pixel AP over the severity of each corruption",
    "targeted.jpg": "A targeted sample of each class through each model, on the demo data, after a "
    "training there with a quarter of the images",
    "levels.jpg": "The five levels, and the score maps of each model, likewise",
}


def robustness_page(
    found: RobustnessResult | None, answers: Sequence[Mapping[str, Any]], **words: object
) -> str:
    """The page in Markdown.

    Args:
        found: The answers as one result; None before the first model is evaluated.
        answers: Every part's file, for machines, times and weights.
        words: What the template shows as it is: the command that repeats the study, file names of
            charts and pictures, parts that are missing, and the author's remarks.
    """
    values: dict[str, object] = {}
    if found is not None:
        checks = [
            (attack, [check.name, "passed" if check.passed else "**failed**", check.detail])
            for attack, check in found.checks()
        ]
        means = [
            (level.name, [m.text(found.perception[level.name]["mean"][m.key]) for m in PERCEPTION])
            for level in found.levels
        ]
        attacks, metrics = found.attacks(), (METRICS[0], IMAGE_AUROC, *SHARES)
        values |= {
            "setting": _setting(found, answers),
            "checks": Table("", ["attack"], ["check", "verdict", "numbers"], checks),
            "transfer": _means(attacks["transfer"], LEVELS, published=True),
            "white_box": _means(attacks.get("white_box", {}), UNTARGETED),
            "verdicts": tables.verdict_table(found),
            "corruptions": [
                table for m in found.models for table in tables.corruption_tables([m], metrics)
            ],
            "perception": Table("", ["mean over classes"], [m.title for m in PERCEPTION], means),
            "transfer_of_classes": tables.transfer_tables(found),
            "white_box_of_classes": tables.white_box_tables(found),
            "perception_of_classes": tables.perception_table(found),
        }
    values |= {"captions": _CAPTIONS, "caveats": CAVEATS, **words}
    return render("robustness.md", found=found is not None, **values)


def _setting(found: RobustnessResult, answers: Sequence[Mapping[str, Any]]) -> str:
    facts = found.set_facts
    hours = sum(answer["seconds"] for answer in answers) / 3600.0
    sources = {answer["surrogate_sha256"] for answer in answers} - {None}
    again = ""
    if len(sources) > 1:
        again = (
            f" The weights that the set was built from did not last: it was built {len(sources)} "
            "times, from the same training on other machines, and no model saw quite the same one."
        )
    return (
        f"The set: {facts['samples']:,} samples of {len(found.classes)} classes "
        f"({', '.join(found.classes)}), {facts['anomalous']:,} with a synthesized defect, each at "
        f"five levels of {facts['steps']} steps. One seed. {machines(answers)} Attacks "
        f"and evaluations took {hours:.1f} hours, the trainings not counted.{again}"
    )


def _means(
    models: Mapping[str, Mapping[str, LevelFigures]],
    levels: Sequence[Level],
    published: bool = False,
) -> Table:
    """Means over classes, a row a model and metric, a column a level; published ones below."""
    names = [level.name for level in levels]
    rows = []
    for name, figures in models.items():
        for metric in METRICS:
            cells = [metric.text(figures[n].mean[metric.key]) for n in (*names, UNATTACKED)]
            rows.append((name, [metric.title, *cells]))
    for system, label in LABELS.items() if published else ():
        for metric in METRICS:
            printed = tables.published_averages(metric)
            cells = [metric.printed(printed[system, name]) for name in names]
            words = f"{label}, **as published** for MVTec AD"
            rows.append((words, [metric.title, *cells, NOTHING]))
    return Table("", ["model"], ["mean over classes", *names, "clean"], rows)
