"""A study's page: its table beside the published one, and what the spread allows to say."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from omnial.config.load import load_settings
from omnial.models.count import describe
from omnial.studies import markdown
from omnial.studies.plan import COMPARED, WORDS, Row, Study


@dataclass(frozen=True)
class Figures:
    """A row's figures over its seeds, in percent.

    Attributes:
        row: The row.
        runs: One mapping a finished seed, of metric to value; a value that a class set cannot
            have is missing.
        results: The result files' contents, one list a seed.
        classes: For each seed, each class's figures in 0..1.
    """

    row: Row
    runs: tuple[Mapping[str, float], ...]
    results: tuple[Sequence[Mapping[str, Any]], ...] = ()
    classes: tuple[Mapping[str, Mapping[str, float | None]], ...] = ()

    def values(self, metric: str) -> list[float]:
        """The metric of every finished seed that has it."""
        return [run[metric] for run in self.runs if metric in run]


def percentages(mean: Mapping[str, float | None]) -> dict[str, float]:
    """The compared figures that exist, in percent."""
    return {name: 100.0 * value for name in WORDS if (value := mean.get(name)) is not None}


def verdict(lower: Sequence[float], higher: Sequence[float]) -> str:
    """Whether the seeds say that one row is below another.

    Two rows are told apart where every seed of one is above every seed of the other, and there are
    at least two of each: one run has no spread.

    Returns:
        `holds`, `reversed` or `undecided`.
    """
    if min(len(lower), len(higher)) < 2:
        return "undecided"
    if max(lower) < min(higher):
        return "holds"
    if max(higher) < min(lower):
        return "reversed"
    return "undecided"


def compare(rows: Sequence[Figures], metric: str) -> list[tuple[Figures, Figures, str]]:
    """Neighbours in the published order of a metric, the lower first, with the verdict on them."""
    ranked = sorted(
        (row for row in rows if metric in row.row.published),
        key=lambda row: row.row.published[metric],
    )
    return [
        (low, high, verdict(low.values(metric), high.values(metric)))
        for low, high in pairwise(ranked)
    ]


def page(
    study: Study,
    rows: Sequence[Figures],
    *,
    command: str,
    pictures: Mapping[str, str],
    missing: Sequence[str] = (),
    remarks: str = "",
) -> str:
    """The study's page in Markdown.

    Args:
        study: The study.
        rows: Its rows, with what is finished.
        command: The command that repeats it.
        pictures: File name of each picture beside its caption.
        missing: Runs that are not finished.
        remarks: What its author says about the figures, kept from page to page.
    """
    parts = [
        f"# {study.title}\n",
        f"{study.question}\n",
        f"    {command}\n",
        _setting(rows),
        _figures_table(rows),
        "Ours: the mean over the seeds, and in brackets the lowest and the highest; means over "
        f"{_class_words(rows)}. Published: over the 15 classes of MVTec AD with the full "
        "network and budget, shown for their order alone.\n",
    ]
    if missing:
        parts.append(f"Not finished: {', '.join(missing)}.\n")
    parts += [markdown.picture(name, caption) for name, caption in pictures.items()]
    order = _order(rows)
    if order:
        parts += ["## The published order at this scale\n", order]
    parts.append(markdown.remarks(remarks))
    parts += ["## Classes\n", _classes_table(rows)]
    parts += ["## Parameters at size `paper`\n", _parameters_table(rows)]
    return "\n".join(part for part in parts if part)


def _setting(rows: Sequence[Figures]) -> str:
    """What the finished runs have in common: data, size, budget, machines."""
    results = [result for row in rows for run in row.results for result in run]
    if not results:
        return ""
    first = results[0]
    unified = {result["images"] for result in results if result["separate"] is None}
    budget = " or ".join(f"{count:,}" for count in sorted(unified)) or "equal parts of the"
    lines = [
        f"Data: {', '.join(first['data']['roots'])}. Size `{first['size']}`, {budget} images a "
        "run, seeds counted from 0.",
        markdown.machines(results),
    ]
    return " ".join(lines) + "\n"


def _class_words(rows: Sequence[Figures]) -> str:
    names = next((list(row.classes[0]) for row in rows if row.classes), [])
    return f"{len(names)} classes ({', '.join(names)})" if names else "the classes"


def _figures_table(rows: Sequence[Figures]) -> str:
    head = ["row", "system", "seeds", *WORDS.values(), "published (image / pixel AUROC / AP)"]
    lines = markdown.head(head)
    for row in rows:
        cells = [row.row.label, f"`{row.row.system}`", str(len(row.runs))]
        cells += [_cell(row.values(metric)) for metric in WORDS]
        published = [row.row.published.get(metric) for metric in COMPARED]
        cells.append(" / ".join("-" if value is None else f"{value:.1f}" for value in published))
        lines.append(markdown.line(cells))
    return markdown.table(lines)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def _order(rows: Sequence[Figures]) -> str:
    lines = []
    for metric in COMPARED:
        for low, high, word in compare(rows, metric):
            if not (low.values(metric) and high.values(metric)):
                continue
            lines.append(
                f"- {WORDS[metric]}: {low.row.label} below {high.row.label} "
                f"(published {low.row.published[metric]:.1f} and "
                f"{high.row.published[metric]:.1f}; ours {_cell(low.values(metric))} and "
                f"{_cell(high.values(metric))}): **{word}**"
            )
    if not lines:
        return ""
    rule = (
        "Neighbours in the published order. Undecided: the seeds overlap, or there are fewer than "
        "two of a row.\n"
    )
    return rule + "\n" + "\n".join(lines) + "\n"


def _classes_table(rows: Sequence[Figures]) -> str:
    names = next((list(row.classes[0]) for row in rows if row.classes), [])
    if not names:
        return ""
    head = ["row, image AUROC / pixel AUROC / pixel AP", *names]
    lines = markdown.head(head)
    for row in rows:
        if not row.classes:
            continue
        cells = [row.row.label]
        for name in names:
            means = []
            for metric in COMPARED:
                values = [
                    value for run in row.classes if (value := run[name].get(metric)) is not None
                ]
                means.append(f"{100.0 * statistics.fmean(values):.1f}" if values else "-")
            cells.append(" / ".join(means))
        lines.append(markdown.line(cells))
    return markdown.table(lines)


def _parameters_table(rows: Sequence[Figures]) -> str:
    head = ["row", "module", "reconstruction", "localization", "published"]
    lines = markdown.head(head)
    for row in rows:
        settings = load_settings(system=row.row.system, size="paper", overrides=row.row.overrides)
        parts = describe(settings.model, 32, 32)["parts"]
        published = [part["published"] for part in parts.values()]
        words = " / ".join("-" if count is None else f"{count:,}" for count in published)
        counts = [f"{part['parameters']:,}" for part in parts.values()]
        lines.append(markdown.line([row.row.label, *counts, words]))
    return markdown.table(lines)
