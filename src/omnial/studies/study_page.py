"""A study's page: its figures next to the published ones, and what chance allows to say of them.

`machines` and `remarks_on` serve the page of the robustness study too.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omnial.config.load import load_settings
from omnial.models.count import describe
from omnial.reporting.render import render
from omnial.reporting.tables import Table
from omnial.studies.differences import Difference, differences
from omnial.studies.row_figures import ERASED, SHARP, RowFigures
from omnial.studies.study_rows import COMPARED, WORDS, Study


def study_page(study: Study, rows: Sequence[RowFigures], **words: object) -> str:
    """The study's page in Markdown, of the seeds that are finished.

    `words` are what the template shows as it is: the command that repeats the study, the caption of
    each picture by its file name, trials that are missing, and the author's remarks.
    """
    names = next((list(row.seeds[0].classes) for row in rows if row.seeds), [])
    results = [result for row in rows for seed in row.seeds for result in seed.results]
    found = {metric: differences(rows, metric) for metric in COMPARED}
    return render(
        "study.md",
        study=study,
        setting=_setting(results) if results else "",
        figures=_figures(rows),
        classes=f"{len(names)} classes ({', '.join(names)})" if names else "the classes",
        order=_order(found),
        told=_told(found),
        published=any(row.row.published for row in rows),
        plateau=[row.row.label for row in rows if row.on_plateau],
        sharp=f"{SHARP:g}",
        erased=f"{ERASED:g}",
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
        psnr = _mean((seed.psnr for seed in row.seeds), "{:.1f}")
        erased = _mean((seed.erased for seed in row.seeds), "{:.2f}")
        label = f"{row.row.label}, on the plateau" if row.on_plateau else row.row.label
        count, printed = str(len(row.seeds)), " / ".join(published)
        lines.append((label, [f"`{row.row.system}`", count, *spreads, psnr, erased, printed]))
    columns = ["system", "seeds", *WORDS.values(), "PSNR", "erased"]
    return Table("", ["row"], [*columns, "published (image / pixel AUROC / AP)"], lines)


def _order(found: Mapping[str, Sequence[Difference]]) -> Table:
    lines = []
    for metric, pairs in found.items():
        for lower, higher, value, half, verdict in pairs:
            interval = "no interval"
            if half is not None:
                interval = f"{value - half:+z.1f} to {value + half:+z.1f}"
            names = [f"{lower.row.label} below {higher.row.label}"]
            published = [lower.row.published.get(metric), higher.row.published.get(metric)]
            numbers = [" and ".join(map(_percent, published)), f"{value:+z.1f}", interval]
            lines.append((WORDS[metric], [*names, *numbers, f"**{verdict}**"]))
    columns = ["rows", "published", "ours, higher minus lower", "95 % interval", "verdict"]
    return Table("", ["figure"], columns, lines)


def _told(found: Mapping[str, Sequence[Difference]]) -> str:
    """The difference of each metric that is told from chance: the widest interval's half width."""
    widths = {
        metric: max((pair.half_width for pair in pairs if pair.half_width is not None), default=0.0)
        for metric, pairs in found.items()
    }
    return ", ".join(f"{width:.1f} ({WORDS[metric]})" for metric, width in widths.items() if width)


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
    lines = [(row.row.label, _counts(row.row.system, row.row.overrides)) for row in rows]
    return Table("", ["row"], ["module", "reconstruction", "localization", "published"], lines)


@cache
def _counts(system: str, overrides: tuple[str, ...]) -> list[str]:
    """Cells of a row; they take seconds, and a page is written after every trial."""
    settings = load_settings(system=system, size="paper", overrides=overrides)
    parts = describe(settings.model, 32, 32)["parts"].values()
    published = " / ".join(_count(part["published"]) for part in parts)
    return [*(_count(part["parameters"]) for part in parts), published]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _mean(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(statistics.fmean(known)) if known else "-"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"
