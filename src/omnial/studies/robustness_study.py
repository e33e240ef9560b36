"""The robustness study: a surrogate, its adversarial set, and the robustness of every model.

It needs hours at any useful size, so every answer is a small file that is kept. Weights and the set
lie in the working folder; where they did not last and are still needed, they are made again.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from omnial.attacks.ball import LEVELS
from omnial.data.checks import check_files
from omnial.files import file_digest, locked
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.reporting.report_pictures import jpeg
from omnial.reporting.robustness_charts import (
    level_chart,
    levels_figure,
    severity_chart,
    targeted_figure,
)
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.build_set import SetPlan, build_set
from omnial.robustness.corruptions import evaluate_corrupted, subset
from omnial.robustness.evaluate_models import (
    ModelRobustness,
    RobustnessPlan,
    RobustnessResult,
    evaluate_robustness,
    set_facts,
)
from omnial.robustness.transfer import evaluate_on_set, measure_perception
from omnial.robustness.white_box import attack_verdicts, attack_white_box
from omnial.studies.results_store import SCHEMA, digest, provenance, write_file, write_result
from omnial.studies.robustness_page import robustness_page
from omnial.studies.robustness_parts import (
    ABOUT_SET,
    CORRUPTIONS,
    FOUND_TYPES,
    QUESTIONS,
    ROWS,
    SET,
    SURROGATE,
    TRANSFER,
    VERDICTS,
    WHITE_BOX,
    Part,
    RobustnessOptions,
    SetFindings,
)
from omnial.studies.run_study import PAGE, StudySummary
from omnial.studies.run_trials import DEMO_DATA, run_trials, train_on_demo
from omnial.studies.study_data import StudyData, command_line, find_roots
from omnial.studies.study_page import remarks_on
from omnial.studies.study_rows import chosen_rows
from omnial.studies.trial import Trial, has_model, model_folder, plan_trials

LEVELS_CHART, SEVERITY_CHART = "levels.png", "severities.png"
TARGETED_PICTURE, LEVELS_PICTURE = "targeted.jpg", "levels.jpg"

_DEMO_SAMPLES: Final = 2
_DEMO_CLASSES: Final = 4

_logger = logging.getLogger(__name__)


def run_robustness_study(
    data: Sequence[Path],
    out: Path,
    work: Path,
    options: RobustnessOptions,
    *,
    progress: bool = True,
) -> StudySummary:
    """Compute what is missing of the robustness study, and write its page after every part.

    Arguments and errors are those of `run_study`; `work` holds the adversarial set too.

    Returns:
        Its `rows` hold the mean pixel AP in percent, level by level.
    """
    with locked(out):
        rows = chosen_rows("robustness", ROWS, options.rows)
        study = RobustnessStudy(StudyData.of(find_roots(data)), out, work, options, progress)
        study.write_page()
        study.train(rows)
        for part in [study.parts[row, question] for question in QUESTIONS for row in rows]:
            if part not in study.answers:
                study.answer(part)
                study.write_page()
        if options.gallery and not study.missing() and not (out / TARGETED_PICTURE).is_file():
            study.draw_demo()
        return study.write_page()


class RobustnessStudy:
    """A study under way: its trainings, its parts, and those that are answered."""

    def __init__(
        self, source: StudyData, out: Path, work: Path, options: RobustnessOptions, progress: bool
    ) -> None:
        self.source, self.out, self.work = source, out, work
        self.options, self.progress = options, progress
        self.surrogate, *trials = (
            trial for row in (SURROGATE, *ROWS) for trial in plan_trials(row, source, options)
        )
        self.trials = {trial.row.name: trial for trial in trials}
        # Every file before the first run, not when the first evaluation comes to it.
        check_files(source.catalogue, self.surrogate.settings.data)
        key = digest([SCHEMA, self.surrogate.key, options.demands(SET)])
        self.set_part = Part(SET, SURROGATE.name, key)
        self.parts: dict[tuple[str, str], Part] = {}
        for row_name, trial in self.trials.items():
            for question in QUESTIONS:
                on_set = self.set_part.key if question in ABOUT_SET else None
                facts = [SCHEMA, question, trial.key, on_set, options.demands(question)]
                self.parts[row_name, question] = Part(question, row_name, digest(facts))
        found = {part: part.read(out) for part in (self.set_part, *self.parts.values())}
        self.answers = {part: answer for part, answer in found.items() if answer is not None}
        self._kept = len(self.answers)
        self._loaded: dict[str, tuple[TrainedModel, str]] = {}  # of the model asked last

    def answer(self, part: Part) -> None:
        """Compute a part; the set's own is computed with the first that needs the set."""
        trial, plan = self.trials[part.row], self.options.white_box_plan
        model, weights = self._model(trial)
        data = self.adversarial_set if part.question in ABOUT_SET else None
        _logger.info("%s, %s", trial.row.label, part.words)
        started = time.perf_counter()
        found: object
        if data is not None:
            found = (
                evaluate_on_set(TorchBackend(model), data)
                if part.question == TRANSFER
                else attack_white_box(model, data, plan)
            )
        elif part.question == VERDICTS:
            found = attack_verdicts(model, self.source.catalogue, plan)
        else:
            everything, most = self.source.catalogue, self.options.corruption_images
            some = tuple(subset(product, most) for product in everything.classes)
            found = evaluate_corrupted(model, replace(everything, classes=some))
        self._keep(part, found, time.perf_counter() - started, weights)

    def train(self, rows: Sequence[str]) -> None:
        """Train what these rows' missing answers need, where several models train at once."""
        if self.options.jobs < 2:
            return  # Each model when its first answer is due: answers come sooner.
        missing = [p for p in self.parts.values() if p.row in rows and p not in self.answers]
        trials = [self.trials[row] for row in rows if any(part.row == row for part in missing)]
        if any(part.question in ABOUT_SET for part in missing):
            trials.insert(0, self.surrogate)
        self._train(trials)

    def missing(self) -> list[str]:
        """Parts that are not answered yet, in words."""
        parts = [part for part in self.parts.values() if part not in self.answers]
        return [f"{self.trials[part.row].row.label}: {part.words}" for part in parts]

    def result(self) -> RobustnessResult | None:
        """The answers as one result, without pictures; None before a model saw the set."""
        models = []
        for row, trial in self.trials.items():
            found: dict[str, Any] = {
                q: self.answers.get(self.parts[row, q], {}).get("found") for q in QUESTIONS
            }
            if found[TRANSFER] is not None:
                models.append(
                    ModelRobustness(
                        name=trial.row.label,
                        folder="",
                        facts={"system": trial.settings.system, "size": trial.settings.size},
                        transfer=found[TRANSFER],
                        white_box=found[WHITE_BOX],
                        verdicts=found[VERDICTS],
                        corruptions=found[CORRUPTIONS] or {},
                    )
                )
        if not models or self.set_part not in self.answers:
            return None
        about: SetFindings = self.answers[self.set_part]["found"]
        return RobustnessResult(
            set_facts=about.facts,
            levels=LEVELS,
            classes=tuple(next(iter(models[0].transfer.values())).classes),
            models=tuple(models),
            set_checks=about.checks,
            perception=about.perception,
        )

    def write_page(self) -> StudySummary:
        """Write the page with the answers that are there."""
        target, found, options = self.out / PAGE, self.result(), self.options
        models = () if found is None else found.models
        charts: dict[str, bytes | None] = {}
        if found is not None:
            names = [model.name for model in models]
            charts = {
                LEVELS_CHART: level_chart(found, names),
                SEVERITY_CHART: severity_chart(found, names),
            }
        drawn = {name: picture for name, picture in charts.items() if picture is not None}
        for name, picture in drawn.items():
            write_file(self.out / name, picture)
        own = (
            f"--samples {options.samples} --white-box-samples {options.white_box_samples} "
            f"--white-box-steps {options.white_box_steps} "
            f"--corruption-images {options.corruption_images}"
        )
        text = robustness_page(
            found,
            list(self.answers.values()),
            command=command_line("robustness", self.source, options, own),
            charts=list(drawn),
            pictures=[n for n in (TARGETED_PICTURE, LEVELS_PICTURE) if (self.out / n).is_file()],
            missing=self.missing(),
            remarks=remarks_on(target),
        )
        write_file(target, text.encode())
        rows = {
            model.name: {
                level: [100.0 * value]
                for level, row in model.transfer.items()
                if (value := row.mean["pixel_ap"]) is not None
            }
            for model in models
        }
        computed = len(self.answers) - self._kept
        return StudySummary(target, rows, computed, self._kept, self.missing())

    def draw_demo(self) -> None:
        """Draw the paper's two figures on the demo data, whose pictures may be published."""
        rows = (SURROGATE, *ROWS)
        surrogate, *others = train_on_demo(rows, self.work, self.options, progress=self.progress)
        folder = self.work / "sets" / f"demo-{surrogate.key[:16]}"
        roots, plan = [self.work / DEMO_DATA], SetPlan(_DEMO_SAMPLES)
        build_set(model_folder(surrogate, self.work), roots, folder, plan)
        found = evaluate_robustness(
            folder,
            [model_folder(trial, self.work) for trial in others],
            RobustnessPlan(white_box=None),
            names=[trial.row.label for trial in others],
        )
        some = replace(found, examples=found.examples[:_DEMO_CLASSES])
        for name, figure in (
            (TARGETED_PICTURE, targeted_figure(some)),
            (LEVELS_PICTURE, levels_figure(some)),
        ):
            write_file(self.out / name, jpeg(np.asarray(figure), thin_lines=False))

    @cached_property
    def adversarial_set(self) -> AdversarialSet:
        """The adversarial set, built now if it is not there."""
        folder = self.work / "sets" / self.set_part.key[:16]
        if not has_model(self.surrogate, self.work):
            self._train([self.surrogate])
        model = model_folder(self.surrogate, self.work)
        _logger.info("the set in %s", folder)
        started = time.perf_counter()
        data = build_set(model, self.source.roots, folder, self.options.set_plan).data
        if self.set_part not in self.answers:
            facts = {k: v for k, v in set_facts(data).items() if k not in ("folder", "made")}
            found = SetFindings(facts, tuple(data.checks()), measure_perception(data))
            seconds = time.perf_counter() - started
            self._keep(self.set_part, found, seconds, file_digest(model / WEIGHTS_FILE))
        return data

    def _keep(self, part: Part, found: object, seconds: float, weights: str) -> None:
        """Write an answer, with the weights that it is about and those that the set came from.

        A model that is trained again on another machine may have others under the same key.
        """
        attacked = None
        if part.question in ABOUT_SET:
            attacked = file_digest(model_folder(self.surrogate, self.work) / WEIGHTS_FILE)
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "key": part.key,
            "row": part.row,
            "part": part.question,
            "demands": self.options.demands(part.question),
            "weights_sha256": weights,
            "surrogate_sha256": attacked,
            "seconds": round(seconds, 1),
            **provenance(),
            "found": FOUND_TYPES[part.question].dump_python(found, mode="json"),
        }
        write_result(self.out / part.file_name, content)
        self.answers[part] = {**content, "found": found}

    def _model(self, trial: Trial) -> tuple[TrainedModel, str]:
        """The model of a row and its weights' digest, trained now if it is not there."""
        if trial.row.name not in self._loaded:
            self._train([trial])
            folder = model_folder(trial, self.work)
            weights = file_digest(folder / WEIGHTS_FILE)
            self._loaded = {trial.row.name: (load_model(folder), weights)}
        return self._loaded[trial.row.name]

    def _train(self, trials: Sequence[Trial]) -> None:
        """Ensure that the results and models of some rows are there."""
        jobs = self.options.jobs
        run_trials(trials, self.out, self.work, jobs, models=True, progress=self.progress)
