"""A study's page: its figures next to the published ones, and what the spread allows to say.

`machines` and `remarks_on` serve the page of the robustness study too.
"""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from omnial.config.load import load_settings
from omnial.evaluation.result import FIGURES
from omnial.metrics.ranking import mean_figures
from omnial.models.count import describe
from omnial.reporting.render import render
from omnial.reporting.tables import Table
from omnial.studies.study_rows import COMPARED, WORDS, Row, Study


class SeedFigures(NamedTuple):
    """Figures of a row with one seed."""

    mean: Mapping[str, float]
    """Means over classes in percent, those of `WORDS` that the classes can have."""
    classes: Mapping[str, Mapping[str, float | None]]
    """Each class's figures in 0..1."""
    results: Sequence[Mapping[str, Any]]
    """The result files: one, or one for each class of a separate row."""

    @classmethod
    def of(cls, results: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> "SeedFigures":
        """The figures of some classes from the result files of one row and seed."""
        found = {n: values for r in results for n, values in r["figures"]["classes"].items()}
        chosen = {name: found[name] for name in classes}
        mean, _ = mean_figures(list(chosen.values()), FIGURES)
        percent = {name: 100.0 * value for name in WORDS if (value := mean[name]) is not None}
        return cls(percent, chosen, results)


class RowFigures(NamedTuple):
    """A row with the figures of its finished seeds."""

    row: Row
    seeds: Sequence[SeedFigures]

    def values(self, metric: str) -> list[float]:
        """A metric in percent, of every finished seed that has it."""
        return [seed.mean[metric] for seed in self.seeds if metric in seed.mean]


def order_of(lower: Sequence[float], higher: Sequence[float]) -> str:
    """Whether the seeds say that one row is below another: `holds`, `reversed` or `undecided`.

    Two rows differ where every seed of one is above every seed of the other, and there are
    at least two of each: one seed has no spread.
    """
    if min(len(lower), len(higher)) < 2:
        return "undecided"
    if max(lower) < min(higher):
        return "holds"
    return "reversed" if max(higher) < min(lower) else "undecided"


def compare(rows: Sequence[RowFigures], metric: str) -> list[tuple[RowFigures, RowFigures, str]]:
    """Neighbours in the published order of a metric, the lower first, with `order_of` them."""
    known = [row for row in rows if metric in row.row.published]
    ranked = pairwise(sorted(known, key=lambda row: row.row.published[metric]))
    return [(low, high, order_of(low.values(metric), high.values(metric))) for low, high in ranked]


def study_page(study: Study, rows: Sequence[RowFigures], **words: object) -> str:
    """The study's page in Markdown, of the seeds that are finished.

    `words` are what the template shows as it is: the command that repeats the study, the caption of
    each picture by its file name, trials that are missing, and the author's remarks.
    """
    names = next((list(row.seeds[0].classes) for row in rows if row.seeds), [])
    results = [result for row in rows for seed in row.seeds for result in seed.results]
    return render(
        "study.md",
        study=study,
        setting=_setting(results) if results else "",
        figures=_figures(rows),
        classes=f"{len(names)} classes ({', '.join(names)})" if names else "the classes",
        order=_order(rows),
        of_classes=_of_classes(rows, names),
        parameters=_parameters(rows),
        **words,
    )


def remarks_on(page: Path) -> str:
    """The author's remarks on an earlier page, between its markers; empty without a page."""
    if not page.is_file():
        return ""
    _, begin, rest = page.read_text("utf-8").partition("<!-- remarks: begin -->")
    kept, end, _ = rest.partition("<!-- remarks: end -->")
    return kept.strip("\n") if begin and end else ""


def machines(results: Sequence[Mapping[str, Any]]) -> str:
    """Commits and machines that result files come from, in words."""
    commits, words = set(), set()
    for result in results:
        facts, precision = result["machine"], result.get("precision")
        cores = "1 core" if facts["cores"] == 1 else f"{facts['cores']} cores"
        parts = [f"{cores} {facts['cpu']}", precision, f"PyTorch {facts['torch']}"]
        commits.add(facts["commit"])
        words.add(", ".join(filter(None, parts)))
    return f"Commits {', '.join(sorted(commits))}. Machines: {'; '.join(sorted(words))}."


def _setting(results: Sequence[Mapping[str, Any]]) -> str:
    first = results[0]
    unified = {result["images"] for result in results if result["separate"] is None}
    budget = " or ".join(f"{count:,}" for count in sorted(unified)) or "equal parts of the"
    return (
        f"Data: {', '.join(first['data']['roots'])}. Size `{first['size']}`, {budget} images a "
        f"run, seeds counted from 0. {machines(results)}"
    )


def _figures(rows: Sequence[RowFigures]) -> Table:
    lines = []
    for row in rows:
        published = (_percent(row.row.published.get(metric)) for metric in COMPARED)
        spreads = (_spread(row.values(metric)) for metric in WORDS)
        cells = [f"`{row.row.system}`", str(len(row.seeds)), *spreads, " / ".join(published)]
        lines.append((row.row.label, cells))
    columns = ["system", "seeds", *WORDS.values(), "published (image / pixel AUROC / AP)"]
    return Table("", ["row"], columns, lines)


def _order(rows: Sequence[RowFigures]) -> list[str]:
    return [
        f"{WORDS[metric]}: {low.row.label} below {high.row.label} "
        f"(published {low.row.published[metric]:.1f} and {high.row.published[metric]:.1f}; "
        f"ours {_spread(low.values(metric))} and {_spread(high.values(metric))}): **{word}**"
        for metric in COMPARED
        for low, high, word in compare(rows, metric)
        if low.values(metric) and high.values(metric)
    ]


def _of_classes(rows: Sequence[RowFigures], names: Sequence[str]) -> Table:
    def cell(row: RowFigures, name: str, metric: str) -> str:
        values = [seed.classes[name].get(metric) for seed in row.seeds]
        known = [100.0 * value for value in values if value is not None]
        return _percent(statistics.fmean(known) if known else None)

    lines = [
        (row.row.label, [" / ".join(cell(row, name, m) for m in COMPARED) for name in names])
        for row in rows
        if row.seeds
    ]
    return Table("", ["row, image AUROC / pixel AUROC / pixel AP"], names, lines)


def _parameters(rows: Sequence[RowFigures]) -> Table:
    lines = []
    for row in rows:
        settings = load_settings(system=row.row.system, size="paper", overrides=row.row.overrides)
        parts = describe(settings.model, 32, 32)["parts"].values()
        published = [_count(part["published"]) for part in parts]
        counts = [_count(part["parameters"]) for part in parts]
        lines.append((row.row.label, [*counts, " / ".join(published)]))
    return Table("", ["row"], ["module", "reconstruction", "localization", "published"], lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"
