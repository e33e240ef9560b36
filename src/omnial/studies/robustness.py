"""The robustness study: a surrogate, its adversarial set, and what every model makes of it.

It needs hours at any useful size, so every answer is a small file that is kept. Weights and the set
itself lie in the working folder; where they did not last and are still needed, they are made again.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from omnial.data.checks import check_files
from omnial.files import file_digest, locked
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.trained_model import TrainedModel
from omnial.reporting.report_pictures import jpeg
from omnial.reporting.robustness_page import levels_figure, targeted_figure
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.assess import AssessmentPlan, assess, set_facts
from omnial.robustness.corrupted import evaluate_corrupted
from omnial.robustness.few_images import few_test_images
from omnial.robustness.making import SetPlan, make_set
from omnial.robustness.perception import measure_perception
from omnial.robustness.score_attack import attack_scores
from omnial.robustness.transfer import evaluate_on_set
from omnial.robustness.white_box import attack_white_box
from omnial.studies.markdown import remarks_on
from omnial.studies.parts import (
    PARTS,
    TRANSFER,
    VERDICTS,
    WHITE_BOX,
    Part,
    SetFindings,
    assemble,
    plan_parts,
    read_part,
    write_part,
)
from omnial.studies.results_store import write_file
from omnial.studies.robustness_figures import level_chart, severity_chart
from omnial.studies.robustness_plan import ROWS, SURROGATE, RobustnessOptions
from omnial.studies.robustness_table import page
from omnial.studies.run_study import PAGE, StudySummary
from omnial.studies.run_trials import DEMO_DATA, run_trials, train_on_demo
from omnial.studies.study_data import StudyData, command_line, find_roots
from omnial.studies.study_rows import chosen_rows
from omnial.studies.trial import Trial, has_model, model_folder, plan_trials

LEVELS_CHART, SEVERITY_CHART = "levels.png", "severities.png"
TARGETED_PICTURE, LEVELS_PICTURE = "targeted.jpg", "levels.jpg"

_logger = logging.getLogger(__name__)

_DEMO_SAMPLES: Final = 2
_DEMO_CLASSES: Final = 4


def run_robustness_study(
    data: Sequence[Path],
    out: Path,
    work: Path,
    options: RobustnessOptions,
    *,
    progress: bool = True,
) -> StudySummary:
    """Compute what is missing of the robustness study, and write its page after every part.

    Args:
        data: Data folders, here or below `$OMNIAL_DATA`.
        out: Folder for the page and a small file for each part; meant to be kept.
        work: Folder for models and the set, which need not last.
        options: Size, budget, how hard the attacks are.
        progress: Show each training's progress.

    Returns:
        What came of it. Its `rows` hold the mean pixel AP in percent, level by level.

    Raises:
        UserError: Unusable data, settings or names, or another run of the study.
        RunError: A result cannot be written.
    """
    with locked(out):
        return _run(data, out, work, options, progress)


def _run(
    data: Sequence[Path],
    out: Path,
    work: Path,
    options: RobustnessOptions,
    progress: bool,
) -> StudySummary:
    """Run the study in a folder that no other run uses."""
    rows = chosen_rows("robustness", ROWS, options.rows)
    source = StudyData.of(find_roots(data))
    study = _Study.over(source, out, work, options, progress)
    study.write()
    study.train(rows)
    for name in PARTS:
        for row in rows:
            part = study.parts[row, name]
            if part not in study.answers:
                study.answer(part)
                study.write()
    if options.gallery and not study.missing() and not (out / TARGETED_PICTURE).is_file():
        study.draw_demo()
    return study.write()


@dataclass
class _Study:
    """A study under way."""

    source: StudyData
    out: Path
    work: Path
    options: RobustnessOptions
    progress: bool
    surrogate: Trial
    jobs: dict[str, Trial]
    set_part: Part
    parts: dict[tuple[str, str], Part]
    answers: dict[Part, dict[str, Any]]
    kept: int = 0
    computed: int = 0
    loaded: dict[str, tuple[TrainedModel, str]] = field(default_factory=dict)
    """By row, of the model asked last: its weights and their digest."""

    @classmethod
    def over(
        cls,
        source: StudyData,
        out: Path,
        work: Path,
        options: RobustnessOptions,
        progress: bool,
    ) -> "_Study":
        """Plan the study, and find what is answered already."""
        jobs = {}
        for row in (SURROGATE, *ROWS):
            (jobs[row.name],) = plan_trials(
                row,
                source,
                size=options.size,
                images=options.images,
                overrides=options.overrides,
            )
        surrogate = jobs.pop(SURROGATE.name)
        # Every file before the first run, not when the first evaluation comes to it.
        check_files(source.catalogue, surrogate.settings.data)
        set_part, parts = plan_parts(surrogate, jobs, options.demands)
        answers = {}
        for part in (set_part, *parts.values()):
            if (found := read_part(part, out)) is not None:
                answers[part] = found
        return cls(
            source,
            out,
            work,
            options,
            progress,
            *(surrogate, jobs, set_part, parts, answers, len(answers)),
        )

    def answer(self, part: Part) -> None:
        """Compute a part; the set's own is computed with the first that looks at the set."""
        job = self.jobs[part.row]
        model, weights = self._model(job)
        data = self._set() if part.name in (TRANSFER, WHITE_BOX) else None
        _logger.info("%s, %s", job.row.label, part.name.replace("-", " "))
        started = time.perf_counter()
        plan = self.options.demands.white_box
        found: object
        if part.name == TRANSFER and data is not None:
            found = evaluate_on_set(model, data)
        elif part.name == WHITE_BOX and data is not None:
            found = attack_white_box(model, data, plan)
        elif part.name == VERDICTS:
            found = attack_scores(model, self.source.catalogue, plan)
        else:
            most = self.options.corruption_images
            everything = self.source.catalogue
            some = tuple(few_test_images(product, most) for product in everything.classes)
            found = evaluate_corrupted(model, replace(everything, classes=some))
        self._keep(part, found, time.perf_counter() - started, weights)

    def train(self, rows: Sequence[str]) -> None:
        """Train what these rows' missing answers need, several models at once if so wished."""
        if self.options.jobs < 2:
            return  # Each model when its first answer is due: answers come sooner.
        missing = [part for part in self.parts.values() if part not in self.answers]
        jobs = [self.jobs[row] for row in rows if any(part.row == row for part in missing)]
        if any(part.row in rows and part.name in (TRANSFER, WHITE_BOX) for part in missing):
            jobs.insert(0, self.surrogate)
        self._train_all(jobs)

    def missing(self) -> list[str]:
        """Parts that are not answered yet, in words."""
        return [
            f"{self.jobs[part.row].row.label}: {part.name.replace('-', ' ')}"
            for part in self.parts.values()
            if part not in self.answers
        ]

    def write(self) -> StudySummary:
        """Write the page with what is known."""
        target = self.out / PAGE
        found = assemble(self.set_part, self.parts, self.jobs, self.answers)
        rows: dict[str, dict[str, list[float]]] = {}
        pictures = []
        if found is not None:
            for name, picture in (
                (LEVELS_CHART, level_chart(found)),
                (SEVERITY_CHART, severity_chart(found)),
            ):
                if picture is not None:
                    write_file(self.out / name, picture)
                    pictures.append(name)
            for model in found.models:
                values = {name: row.mean["pixel_ap"] for name, row in model.transfer.items()}
                rows[model.name] = {
                    level: [100.0 * value] for level, value in values.items() if value is not None
                }
        demo = [n for n in (TARGETED_PICTURE, LEVELS_PICTURE) if (self.out / n).is_file()]
        text = page(
            found,
            list(self.answers.values()),
            command=self._command(),
            charts=pictures,
            pictures=demo,
            missing=self.missing(),
            remarks=remarks_on(target),
        )
        write_file(target, text.encode())
        return StudySummary(target, rows, self.computed, self.kept, self.missing())

    def draw_demo(self) -> None:
        """Draw the paper's two figures on the demo data, whose pictures may be published."""
        jobs = train_on_demo(
            (SURROGATE, *ROWS),
            self.work,
            self.options.jobs,
            size=self.options.size,
            images=self.options.images,
            overrides=self.options.overrides,
            progress=self.progress,
        )
        surrogate, *judged = jobs
        folder = self.work / "sets" / f"demo-{surrogate.key[:16]}"
        make_set(
            model_folder(surrogate, self.work),
            [self.work / DEMO_DATA],
            folder,
            SetPlan(_DEMO_SAMPLES),
        )
        found = assess(
            folder,
            [model_folder(job, self.work) for job in judged],
            AssessmentPlan(white_box=None),
            names=[job.row.label for job in judged],
        )
        some = replace(found, shots=found.shots[:_DEMO_CLASSES])
        for name, pixels in (
            (TARGETED_PICTURE, targeted_figure(some)),
            (LEVELS_PICTURE, levels_figure(some)),
        ):
            write_file(self.out / name, jpeg(pixels, thin_lines=False))

    def _keep(self, part: Part, found: object, seconds: float, weights: str) -> None:
        attacked = None
        if part.name in (TRANSFER, WHITE_BOX):
            attacked = file_digest(model_folder(self.surrogate, self.work) / WEIGHTS_FILE)
        self.answers[part] = write_part(
            part, self.out, found, self.options.demands, seconds, (weights, attacked)
        )
        self.computed += 1

    def _model(self, job: Trial) -> tuple[TrainedModel, str]:
        """The model of a row, trained now if it is not there."""
        if job.row.name not in self.loaded:
            self._train(job)
            folder = model_folder(job, self.work)
            self.loaded = {job.row.name: (load_model(folder), file_digest(folder / WEIGHTS_FILE))}
        return self.loaded[job.row.name]

    def _train(self, job: Trial) -> None:
        """See to it that a row's result and model are there."""
        self._train_all([job])

    def _train_all(self, jobs: Sequence[Trial]) -> None:
        run_trials(
            *(jobs, self.out, self.work, self.options.jobs), models=True, progress=self.progress
        )

    def _set(self) -> AdversarialSet:
        """The adversarial set, made now if it is not there."""
        folder = self.work / "sets" / self.set_part.key[:16]
        if not has_model(self.surrogate, self.work):
            self._train(self.surrogate)
        model = model_folder(self.surrogate, self.work)
        _logger.info("the set in %s", folder)
        started = time.perf_counter()
        made = make_set(model, self.source.roots, folder, self.options.demands.set)
        if self.set_part not in self.answers:
            facts = {k: v for k, v in set_facts(made.data).items() if k not in ("folder", "made")}
            found = SetFindings(facts, tuple(made.data.checks()), measure_perception(made.data))
            seconds = time.perf_counter() - started
            self._keep(self.set_part, found, seconds, file_digest(model / WEIGHTS_FILE))
        return made.data

    def _command(self) -> str:
        options = self.options
        parts = [f"--size {options.size} --images {options.images}"]
        parts += [f"--samples {options.samples} --white-box-samples {options.white_box_samples}"]
        parts += [f"--white-box-steps {options.white_box_steps}"]
        parts += [f"--corruption-images {options.corruption_images}"]
        return command_line("robustness", self.source.roots, " ".join(parts), options.overrides)
