"""The robustness study: a surrogate, its adversarial set, and the robustness of every model.

It needs hours at any useful size, so every answer to a question about a model is a small file that
is kept. Its key is a digest of the model, of the set where the question is about one, and of how
hard the attacks are. Weights and the set lie in the working folder; where they did not last and are
still needed, they are made again.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from omnial.attacks.pgd import LEVELS
from omnial.data.checks import check_files
from omnial.files import file_digest, locked
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.normality_network import backends
from omnial.models.trained_model import TrainedModel
from omnial.reporting import robustness_report as charts
from omnial.reporting.report_pictures import jpeg
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.attack_checks import Check
from omnial.robustness.build_set import SetPlan, build_set
from omnial.robustness.corruptions import CorruptedFigures, evaluate_corrupted, subset
from omnial.robustness.evaluate_models import (
    ModelRobustness,
    RobustnessPlan,
    RobustnessResult,
    evaluate_robustness,
)
from omnial.robustness.transfer import LevelFigures, evaluate_on_set, measure_perception
from omnial.robustness.white_box import (
    VerdictAttack,
    WhiteBox,
    WhiteBoxPlan,
    attack_verdicts,
    attack_white_box,
)
from omnial.studies.results_store import (
    SCHEMA,
    digest,
    provenance,
    read_result,
    write_file,
    write_result,
)
from omnial.studies.robustness_page import robustness_page
from omnial.studies.run_study import PAGE, StudySummary
from omnial.studies.run_trials import DEMO_DATA, run_trials, train_on_demo
from omnial.studies.study_data import StudyData, command_line
from omnial.studies.study_page import remarks_on
from omnial.studies.study_rows import Row, StudyOptions, chosen_rows
from omnial.studies.trial import Trial, has_model, model_folder, plan_trials

SURROGATE: Final = Row("surrogate", "surrogate", "surrogate")
ROWS: Final = (
    Row("draem", "DRAEM", "draem"),
    Row("jnld", "JNLD", "jnld"),
    Row("omnial", "OmniAL", "omnial"),
    Row(
        "omnial-adversarial",
        "OmniAL, adversarially trained",
        "omnial",
        ("training.adversarial_steps=2", "training.adversarial_epsilon=4"),
    ),
)
"""The evaluated models: those of the paper's tables, and OmniAL trained against attacks."""

SET: Final = "set"
TRANSFER, WHITE_BOX, VERDICTS, CORRUPTIONS = "transfer", "white-box", "verdicts", "corruptions"
QUESTIONS: Final = (TRANSFER, WHITE_BOX, CORRUPTIONS, VERDICTS)
"""What is asked about each model, in the order in which it is computed."""
ABOUT_SET: Final = (TRANSFER, WHITE_BOX)
"""Those that need the adversarial set."""

TARGETED_PICTURE, LEVELS_PICTURE = "targeted.jpg", "levels.jpg"
_DEMO_SAMPLES: Final = 2
_DEMO_CLASSES: Final = 4

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RobustnessOptions(StudyOptions):
    """Options of the study; it has one seed and all classes of the data."""

    samples: int = 50
    """Samples of each class in the adversarial set."""
    white_box_samples: int = 10
    """Samples, and test images, of each class that a model's own attacks take."""
    white_box_steps: int = 20
    """Steps of these attacks, from either start."""
    corruption_images: int = 40
    """Test images of each class under every corruption, half of them good."""

    @property
    def white_box_plan(self) -> WhiteBoxPlan:
        """How hard a model itself and its verdicts are attacked."""
        plan = WhiteBoxPlan(self.white_box_samples)
        return replace(plan, schedule=replace(plan.schedule, steps=self.white_box_steps))

    def demands(self, question: str) -> dict[str, Any]:
        """What an answer depends on besides model and set."""
        values = {
            SET: asdict(SetPlan(self.samples)),
            WHITE_BOX: asdict(self.white_box_plan),
            VERDICTS: asdict(self.white_box_plan),
            CORRUPTIONS: {"images": self.corruption_images},
        }.get(question, {})
        # How many samples go through at once changes speed and memory alone.
        return {name: value for name, value in values.items() if name != "batch_size"}


@dataclass(frozen=True)
class SetFindings:
    """Findings about the adversarial set itself, see the fields of `RobustnessResult`."""

    facts: Mapping[str, Any]
    checks: tuple[Check, ...]
    perception: Mapping[str, Mapping[str, Mapping[str, float]]]


FOUND_TYPES: Final[Mapping[str, TypeAdapter[Any]]] = {
    SET: TypeAdapter(SetFindings),
    TRANSFER: TypeAdapter(dict[str, LevelFigures]),
    WHITE_BOX: TypeAdapter(WhiteBox),
    VERDICTS: TypeAdapter(VerdictAttack),
    CORRUPTIONS: TypeAdapter(dict[str, dict[str, CorruptedFigures]]),
}


class Part(NamedTuple):
    """One question about one model, or about the set of the surrogate."""

    question: str
    """`set`, or one of `QUESTIONS`."""
    trial: Trial
    key: str
    """Digest of all that the answer depends on."""

    @property
    def words(self) -> str:
        """Model and question for people."""
        return f"{self.trial.row.label}: {self.question.replace('-', ' ')}"

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        return f"{self.trial.row.name}-{self.question}-{self.key[:10]}.json"

    def read(self, out: Path) -> dict[str, Any] | None:
        """Content of the result file, `found` as its type; None where there is none yet.

        A file of this name that holds something else is a UserError.
        """

        def parse(content: dict[str, Any]) -> dict[str, Any]:
            found = FOUND_TYPES[self.question].validate_python(content["found"])
            return {**content, "found": found}

        path = out / self.file_name
        return read_result(path, self.key, parse) if os.path.lexists(path) else None


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
        study = RobustnessStudy(StudyData.of(data), out, work, options, progress)
        study.write_page()
        asked = [study.parts[row, question] for question in QUESTIONS for row in rows]
        study.answer([part for part in asked if part.key not in study.answers])
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
        (self.surrogate,) = plan_trials(SURROGATE, source, options)
        # Every file before the first run, not when the first evaluation comes to it.
        check_files(source.catalogue, self.surrogate.settings.data)
        key = digest([SCHEMA, self.surrogate.key, options.demands(SET)])
        self.set_part = Part(SET, self.surrogate, key)
        self.parts: dict[tuple[str, str], Part] = {}
        for row in ROWS:
            (trial,) = plan_trials(row, source, options)
            for question in QUESTIONS:
                on_set = key if question in ABOUT_SET else None
                facts = [SCHEMA, question, trial.key, on_set, options.demands(question)]
                self.parts[row.name, question] = Part(question, trial, digest(facts))
        found = {part.key: part.read(out) for part in (self.set_part, *self.parts.values())}
        self.answers = {key: answer for key, answer in found.items() if answer is not None}
        self._kept = len(self.answers)
        self._loaded: tuple[str, TrainedModel] | None = None  # the model asked last

    def answer(self, parts: Sequence[Part]) -> None:
        """Compute some parts; the set's own is computed with the first that needs the set."""
        if self.options.jobs > 1:
            # Several models train at once; else each when it is due, since answers come sooner.
            on_set = any(part.question in ABOUT_SET for part in parts)
            trials = [self.surrogate] if on_set else []
            self._train([*trials, *{part.trial.key: part.trial for part in parts}.values()])
        for part in parts:
            model = self._model(part.trial)
            data = self.adversarial_set if part.question in ABOUT_SET else None
            _logger.info("%s", part.words)
            started, plan = time.perf_counter(), self.options.white_box_plan
            found: object
            if data is not None and part.question == TRANSFER:
                found = evaluate_on_set(backends(model), data)
            elif data is not None:
                found = attack_white_box(model, data, plan)
            elif part.question == VERDICTS:
                found = attack_verdicts(model, self.source.catalogue, plan)
            else:
                everything, most = self.source.catalogue, self.options.corruption_images
                some = tuple(subset(product, most) for product in everything.classes)
                found = evaluate_corrupted(model, replace(everything, classes=some))
            self._keep(part, found, started)
            self.write_page()

    def missing(self) -> list[str]:
        """Parts that are not answered yet, in words."""
        return [part.words for part in self.parts.values() if part.key not in self.answers]

    def result(self) -> RobustnessResult | None:
        """The answers as one result, without pictures; None before a model saw the set."""
        models = []
        for row in ROWS:
            own = {question: self.parts[row.name, question] for question in QUESTIONS}
            found: dict[str, Any] = {
                q: self.answers.get(part.key, {}).get("found") for q, part in own.items()
            }
            settings = own[TRANSFER].trial.settings
            if found[TRANSFER] is not None:
                models.append(
                    ModelRobustness(
                        name=row.label,
                        folder="",
                        facts={"system": settings.system, "size": settings.size},
                        transfer=found[TRANSFER],
                        white_box=found[WHITE_BOX],
                        verdicts=found[VERDICTS],
                        corruptions=found[CORRUPTIONS] or {},
                    )
                )
        if not models or self.set_part.key not in self.answers:
            return None
        about: SetFindings = self.answers[self.set_part.key]["found"]
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
        drawn = {}
        if found is not None:
            names = [model.name for model in models]
            drawn["levels.png"] = charts.level_chart(found, names)
            if (severities := charts.severity_chart(found, names)) is not None:
                drawn["severities.png"] = severities
        for name, picture in drawn.items():
            write_file(self.out / name, picture)
        own = (
            f"--images {options.images} --samples {options.samples} "
            f"--white-box-samples {options.white_box_samples} "
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
            (TARGETED_PICTURE, charts.targeted_figure(some)),
            (LEVELS_PICTURE, charts.levels_figure(some)),
        ):
            write_file(self.out / name, jpeg(np.asarray(figure), thin_lines=False))

    @cached_property
    def adversarial_set(self) -> AdversarialSet:
        """The adversarial set, built now if it is not there."""
        folder = self.work / "sets" / self.set_part.key[:16]
        if not has_model(self.surrogate, self.work):
            self._train([self.surrogate])
        _logger.info("the set in %s", folder)
        started, model = time.perf_counter(), model_folder(self.surrogate, self.work)
        data, _ = build_set(model, self.source.roots, folder, SetPlan(self.options.samples))
        if self.set_part.key not in self.answers:
            facts = {k: v for k, v in data.facts().items() if k not in ("folder", "made")}
            found = SetFindings(facts, tuple(data.checks()), measure_perception(data))
            self._keep(self.set_part, found, started)
        return data

    def _keep(self, part: Part, found: object, started: float) -> None:
        """Write an answer, with the weights that it is about and those that the set came from.

        A model that is trained again on another machine may have others under the same key.
        """
        attacked = self._weights(self.surrogate) if part.question in ABOUT_SET else None
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "key": part.key,
            "row": part.trial.row.name,
            "part": part.question,
            "demands": self.options.demands(part.question),
            "weights_sha256": self._weights(part.trial),
            "surrogate_sha256": attacked,
            "seconds": round(time.perf_counter() - started, 1),
            **provenance(),
            "found": FOUND_TYPES[part.question].dump_python(found, mode="json"),
        }
        write_result(self.out / part.file_name, content)
        self.answers[part.key] = {**content, "found": found}

    def _weights(self, trial: Trial) -> str:
        return file_digest(model_folder(trial, self.work) / WEIGHTS_FILE)

    def _model(self, trial: Trial) -> TrainedModel:
        if self._loaded is None or self._loaded[0] != trial.key:
            self._train([trial])
            self._loaded = trial.key, load_model(model_folder(trial, self.work))
        return self._loaded[1]

    def _train(self, trials: Sequence[Trial]) -> None:
        jobs = self.options.jobs
        run_trials(trials, self.out, self.work, jobs, models=True, progress=self.progress)
