"""Run a study: every row at an equal budget, what is finished already being kept."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.errors import UserError
from omnial.files import locked
from omnial.model_folder.weights_file import load_model
from omnial.studies import gallery
from omnial.studies.demo import train_on_demo
from omnial.studies.figures import chart
from omnial.studies.job import (
    Job,
    find_result,
    has_model,
    merge_classes,
    model_folder,
    plan_jobs,
)
from omnial.studies.markdown import remarks_on
from omnial.studies.plan import Row, Study, chosen_rows
from omnial.studies.roots import StudyData, command_line, find_roots
from omnial.studies.side_by_side import each_seen_to
from omnial.studies.storage import write_file, write_jpeg
from omnial.studies.table import Figures, page, percentages

PAGE: Final = "README.md"
CHART: Final = "chart.png"
GALLERY: Final = "gallery.jpg"


@dataclass(frozen=True)
class StudyOptions:
    """How a study is run.

    Attributes:
        size: Name of the size, the same for every row.
        images: Images of a run.
        seeds: Runs of each row, with the seeds from 0.
        overrides: Settings of every row, as `key=value`.
        classes: The classes that the table is about; empty leaves it to the study.
        rows: Names of the rows to compute now; empty is all. The page shows every row.
        gallery: Train each row on the demo data as well, and draw what it makes of ten images.
        jobs: Trainings at the same time, each with its share of the cores.
    """

    size: str
    images: int
    seeds: int
    overrides: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    gallery: bool = True
    jobs: int = 1


@dataclass(frozen=True)
class StudySummary:
    """What came of a study.

    Attributes:
        page: The page.
        rows: Each row's figures in percent, a list over seeds for each metric.
        computed: Runs that were computed now.
        kept: Runs that stood there already.
        missing: Runs that are not there yet.
    """

    page: Path
    rows: dict[str, dict[str, list[float]]]
    computed: int
    kept: int
    missing: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**vars(self), "page": str(self.page)}


def run_study(
    study: Study,
    data: Sequence[Path],
    out: Path,
    work: Path,
    options: StudyOptions,
    *,
    tell: Callable[[str], None] = print,
    progress: bool = True,
) -> StudySummary:
    """Compute what is missing of a study, and write its page after every run.

    Args:
        study: The study.
        data: Data folders, here or below `$OMNIAL_DATA`.
        out: Folder for the page and a small file for each run; meant to be kept.
        work: Folder for models, which need not last.
        options: Size, budget, seeds.
        tell: Called with a line about each run as it begins.
        progress: Show each training's progress.

    Returns:
        What came of it.

    Raises:
        UserError: Unusable data, settings or names, or another run of the study.
        RunError: A result cannot be written.
    """
    with locked(out):
        return _run_study(study, data, out, work, options, tell, progress)


def _run_study(
    study: Study,
    data: Sequence[Path],
    out: Path,
    work: Path,
    options: StudyOptions,
    tell: Callable[[str], None],
    progress: bool,
) -> StudySummary:
    """Run a study in a folder that no other run uses."""
    source = StudyData.of(find_roots(data))
    classes = _classes(study, source.catalogue.names, options)
    chosen = chosen_rows(study.name, study.rows, options.rows)
    jobs: dict[tuple[str, int], list[Job]] = {}
    for seed in range(options.seeds):
        for row in study.rows:
            jobs[row.name, seed] = plan_jobs(
                row,
                source,
                size=options.size,
                images=options.images,
                overrides=options.overrides,
                seed=seed,
                classes=classes,
            )
    # Every file before the first run, not when the first evaluation comes to it.
    check_files(source.catalogue, next(iter(jobs.values()))[0].settings.data)
    results: dict[str, dict[str, Any]] = {}
    for group in jobs.values():
        for job in group:
            if (found := find_result(job, out)) is not None:
                results[job.file_name] = found
    kept, computed = len(results), 0
    command = _command(study, source.roots, options)

    def write() -> StudySummary:
        return _write_page(study, jobs, results, classes, out, command, (computed, kept))

    summary = write()
    missing = [
        job
        for (name, _), group in jobs.items()
        for job in group
        if name in chosen and job.file_name not in results
    ]
    done = each_seen_to(
        *(missing, out, work, options.jobs),
        weights=False,
        begins=lambda job: tell(f"{study.name}: {job.label}"),
        progress=progress,
    )
    with closing(done):
        for job in done:
            found = find_result(job, out)
            assert found is not None
            results[job.file_name] = found
            computed += 1
            summary = write()
    own = work / f"{study.name}-{GALLERY}"
    if computed or not own.is_file():
        _draw([jobs[row.name, 0][0] for row in _drawn(study)], own, work)
    if options.gallery and not summary.missing:
        _draw_demo(study, options, out, work, tell, progress)
        summary = write()
    return summary


def _classes(study: Study, known: tuple[str, ...], options: StudyOptions) -> tuple[str, ...]:
    unknown = [name for name in options.classes if name not in known]
    if unknown:
        raise UserError(f"no class {', '.join(unknown)} there; there are {', '.join(known)}")
    return options.classes or known[: study.classes]


def _command(study: Study, roots: Sequence[Path], options: StudyOptions) -> str:
    own = [f"--size {options.size} --images {options.images} --seeds {options.seeds}"]
    own += [f"--class {name}" for name in options.classes]
    return command_line(study.name, roots, " ".join(own), options.overrides)


def _write_page(
    study: Study,
    jobs: dict[tuple[str, int], list[Job]],
    results: dict[str, dict[str, Any]],
    classes: Sequence[str],
    out: Path,
    command: str,
    counts: tuple[int, int],
) -> StudySummary:
    rows, missing = [], []
    for row in study.rows:
        runs, classwise, files = [], [], []
        for (name, seed), group in jobs.items():
            if name != row.name:
                continue
            found = [results[job.file_name] for job in group if job.file_name in results]
            if len(found) < len(group):
                missing.append(f"{row.label} (seed {seed})")
                continue
            figures = merge_classes(found, classes)
            runs.append(percentages(figures["mean"]))
            classwise.append(figures["classes"])
            files.append(found)
        rows.append(Figures(row, tuple(runs), tuple(files), tuple(classwise)))
    pictures = {}
    picture = chart(study, rows)
    if picture is not None:
        write_file(out / CHART, picture)
        pictures[CHART] = "Means over classes and seeds; the bars span the seeds"
    if (out / GALLERY).is_file():
        pictures[GALLERY] = (
            "What each row makes of the same ten images of the demo data, after a training there "
            "with a quarter of the images"
        )
    target = out / PAGE
    remarks = remarks_on(target)
    text = page(study, rows, command=command, pictures=pictures, missing=missing, remarks=remarks)
    write_file(target, text.encode())
    figures_of_rows = {
        row.row.name: {metric: row.values(metric) for metric in (row.runs[0] if row.runs else {})}
        for row in rows
    }
    return StudySummary(target, figures_of_rows, *counts, missing)


def _draw(jobs: Sequence[Job], target: Path, work: Path) -> None:
    """Draw what the rows make of ten images of the study's own data, as far as models are there."""
    models = []
    for job in jobs:
        if has_model(job, work):
            models.append((job.row.label, load_model(model_folder(job, work))))
    if not models:
        return
    catalogue = discover(jobs[0].roots, need="test")
    records = gallery.pick(catalogue)
    if not records:
        return
    write_jpeg(target, gallery.gallery(catalogue, records, models))


def _draw_demo(
    study: Study,
    options: StudyOptions,
    out: Path,
    work: Path,
    tell: Callable[[str], None],
    progress: bool,
) -> None:
    """Train each unified row on the demo data, and draw the gallery that can be published."""
    if (out / GALLERY).is_file():
        return
    jobs = train_on_demo(
        _drawn(study),
        work,
        size=options.size,
        images=options.images,
        overrides=options.overrides,
        at_once=options.jobs,
        tell=lambda text: tell(f"{study.name}: {text}"),
        progress=progress,
    )
    _draw(jobs, out / GALLERY, work)


def _drawn(study: Study) -> list[Row]:
    """The rows that a gallery can show side by side: unified ones."""
    return [row for row in study.rows if not row.separate]
