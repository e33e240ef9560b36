"""Run a study: every row at an equal budget, what is finished already being kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.errors import UserError
from omnial.files import locked
from omnial.model_folder.weights_file import load_model
from omnial.reporting.report_pictures import jpeg
from omnial.studies.results_store import write_file
from omnial.studies.row_figures import RowFigures, SeedFigures
from omnial.studies.run_trials import run_trials, train_on_demo
from omnial.studies.study_data import StudyData, command_line
from omnial.studies.study_page import remarks_on, study_page
from omnial.studies.study_pictures import chart, gallery, pick
from omnial.studies.study_rows import Study, StudyOptions, chosen_rows
from omnial.studies.trial import Trial, find_result, has_model, model_folder, plan_trials

PAGE: Final = "README.md"
CHART: Final = "chart.png"
GALLERY: Final = "gallery.jpg"


@dataclass(frozen=True)
class StudySummary:
    """Summary of a study: what was computed now, was kept from before, and is not finished.

    `rows` holds each row's figures in percent, a list over seeds for each metric.
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
    progress: bool = True,
) -> StudySummary:
    """Compute what is missing of a study, and write its page after every trial.

    `out` is meant to be kept: it gets the page and a small file for each trial. `work` gets the
    models, which need not last.

    Raises:
        UserError: Unusable data, settings or names, or another run of the study.
        RunError: A result cannot be written.
    """
    with locked(out):
        source = StudyData.of(data)
        running = _RunningStudy(study, source, out, work, options, progress)
        running.write_page()
        running.compute()
        running.draw()
        return running.write_page()


class _RunningStudy:
    """A study in a folder that no other run uses: its trials, and the results so far."""

    def __init__(
        self,
        study: Study,
        data: StudyData,
        out: Path,
        work: Path,
        options: StudyOptions,
        progress: bool,
    ) -> None:
        self.study, self.data, self.out, self.work = study, data, out, work
        self.options, self.progress = options, progress
        known = data.catalogue.names
        unknown = [name for name in options.classes if name not in known]
        if unknown:
            raise UserError(f"no class {', '.join(unknown)} there; there are {', '.join(known)}")
        self.classes = options.classes or known[: study.classes]
        self.chosen = chosen_rows(study.name, study.rows, options.rows)
        self.trials = [
            trial
            for seed in range(options.seeds)
            for row in study.rows
            for trial in plan_trials(row, data, options, seed, self.classes)
        ]
        check_files(data.catalogue, self.trials[0].settings.data)
        self.results: dict[str, dict[str, Any]] = {}
        for trial in self.trials:
            self._find(trial)
        self.kept = len(self.results)

    def _find(self, trial: Trial) -> None:
        if (found := find_result(trial, self.out)) is not None:
            self.results[trial.file_name] = found

    def compute(self) -> None:
        """Compute the missing trials of the chosen rows."""

        def keep(trial: Trial) -> None:
            self._find(trial)
            self.write_page()

        chosen = [trial for trial in self.trials if trial.row.name in self.chosen]
        shown, jobs = self.progress, self.options.jobs
        run_trials(chosen, self.out, self.work, jobs, on_done=keep, progress=shown)

    def draw(self) -> None:
        """Draw ten images as the models see them: of the study's data, and of the demo data.

        A gallery shows unified rows only. That of the study's own data lies with the models, since
        not every licence allows its publication.
        """
        rows = [row for row in self.study.rows if not row.separate]
        own = self.work / f"{self.study.name}-{GALLERY}"
        if len(self.results) > self.kept or not own.is_file():
            unified = [trial for trial in self.trials if trial.only is None]
            self._draw(unified[: len(rows)], own)
        finished = len(self.results) == len(self.trials)
        if self.options.gallery and finished and not (self.out / GALLERY).is_file():
            trials = train_on_demo(rows, self.work, self.options, progress=self.progress)
            self._draw(trials, self.out / GALLERY)

    def write_page(self) -> StudySummary:
        """Write the page and the chart with the results so far."""
        rows, missing = [], []
        for row in self.study.rows:
            seeds = []
            for seed in range(self.options.seeds):
                own = [t for t in self.trials if t.row is row and t.settings.training.seed == seed]
                found = [self.results[t.file_name] for t in own if t.file_name in self.results]
                if len(found) == len(own):
                    seeds.append(SeedFigures.of(found, self.classes))
                else:
                    missing.append(f"{row.label} (seed {seed})")
            rows.append(RowFigures(row, seeds))
        pictures = {}
        if (picture := chart(self.study, rows)) is not None:
            write_file(self.out / CHART, picture)
            minutes = "; minutes of the training" if self.study.own_images else ""
            pictures[CHART] = f"Means over classes and seeds; the bars span the seeds{minutes}"
        if (self.out / GALLERY).is_file():
            pictures[GALLERY] = (
                "What each row makes of the same ten images of the demo data, after a training "
                "there with a quarter of the images"
            )
        given = [f"--seeds {self.options.seeds}"]
        given += [f"--class {name}" for name in self.options.classes]
        if not self.study.own_images:
            given.insert(0, f"--images {self.options.images}")
        page = self.out / PAGE
        text = study_page(
            self.study,
            rows,
            command=command_line(self.study.name, self.data, self.options, *given),
            pictures=pictures,
            missing=missing,
            remarks=remarks_on(page),
        )
        write_file(page, text.encode())
        figures = {
            row.row.name: {name: row.values(name) for seed in row.seeds[:1] for name in seed.mean}
            for row in rows
        }
        return StudySummary(page, figures, len(self.results) - self.kept, self.kept, missing)

    def _draw(self, trials: Sequence[Trial], target: Path) -> None:
        there = [trial for trial in trials if has_model(trial, self.work)]
        models = [(trial.row.label, load_model(model_folder(trial, self.work))) for trial in there]
        if not models:
            return
        catalogue = discover(trials[0].roots, need="test")
        if records := pick(catalogue):
            write_file(target, jpeg(gallery(catalogue, records, models), thin_lines=False))
