"""Models and questions of the robustness study, and the small file that keeps each answer.

An answer's key is a digest of the model, of the set where the model is asked about one, and of how
hard the attacks are: what stands in the study's folder under this key is not computed again.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from omnial.robustness.attack_checks import Check
from omnial.robustness.build_set import SetPlan
from omnial.robustness.corruptions import CorruptedFigures
from omnial.robustness.transfer import LevelFigures, Perception
from omnial.robustness.white_box import VerdictAttack, WhiteBox, WhiteBoxPlan
from omnial.studies.results_store import read_result
from omnial.studies.study_rows import Row, StudyOptions

SURROGATE: Final = Row("surrogate", "surrogate", "surrogate")
ROWS: Final = (
    Row("draem", "DRAEM", "draem"),
    Row("jnld", "JNLD", "jnld"),
    Row("omnial", "OmniAL", "omnial"),
    Row(
        "omnial-adversarial",
        "OmniAL, adversarially trained",
        "omnial",
        ("training.adversarial_steps=3", "training.adversarial_epsilon=4"),
    ),
)
"""The evaluated models: those of the paper's tables, and OmniAL trained against attacks."""

SET: Final = "set"
TRANSFER, WHITE_BOX, VERDICTS, CORRUPTIONS = "transfer", "white-box", "verdicts", "corruptions"
QUESTIONS: Final = (TRANSFER, WHITE_BOX, CORRUPTIONS, VERDICTS)
"""What is asked about each model, in the order in which it is computed."""
ABOUT_SET: Final = (TRANSFER, WHITE_BOX)
"""Those that need the adversarial set."""


@dataclass(frozen=True)
class RobustnessOptions(StudyOptions):
    """Options of the study; it has one seed and all classes of the data.

    Attributes:
        samples: Samples of each class in the adversarial set.
        white_box_samples: Samples, and test images, of each class that a model's own attacks take.
        white_box_steps: Steps of these attacks, from either start.
        corruption_images: Test images of each class under every corruption, half of them good.
    """

    samples: int = 50
    white_box_samples: int = 10
    white_box_steps: int = 20
    corruption_images: int = 40

    @property
    def set_plan(self) -> SetPlan:
        """Size of the set."""
        return SetPlan(self.samples)

    @property
    def white_box_plan(self) -> WhiteBoxPlan:
        """How hard a model itself and its verdicts are attacked."""
        plan = WhiteBoxPlan(self.white_box_samples)
        return replace(plan, schedule=replace(plan.schedule, steps=self.white_box_steps))

    def demands(self, question: str) -> dict[str, Any]:
        """What an answer depends on besides model and set."""
        white_box = asdict(self.white_box_plan)
        values = {
            SET: asdict(self.set_plan),
            WHITE_BOX: white_box,
            VERDICTS: white_box,
            CORRUPTIONS: {"images": self.corruption_images},
        }.get(question, {})
        # How many samples go through at once changes speed and memory alone.
        return {name: value for name, value in values.items() if name != "batch_size"}


@dataclass(frozen=True)
class SetFindings:
    """Findings about the adversarial set itself, see the fields of `RobustnessResult`."""

    facts: Mapping[str, Any]
    checks: tuple[Check, ...]
    perception: Mapping[str, Mapping[str, Perception]]


FOUND_TYPES: Final[Mapping[str, TypeAdapter[Any]]] = {
    SET: TypeAdapter(SetFindings),
    TRANSFER: TypeAdapter(dict[str, LevelFigures]),
    WHITE_BOX: TypeAdapter(WhiteBox),
    VERDICTS: TypeAdapter(VerdictAttack),
    CORRUPTIONS: TypeAdapter(dict[str, dict[str, CorruptedFigures]]),
}


class Part(NamedTuple):
    """One question about one model, or about the set."""

    question: str
    """`set`, or one of `QUESTIONS`."""
    row: str
    """Name of the row; for the set, of its surrogate."""
    key: str
    """Digest of all that the answer depends on."""

    @property
    def words(self) -> str:
        """The question for people."""
        return self.question.replace("-", " ")

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        return f"{self.row}-{self.question}-{self.key[:10]}.json"

    def read(self, out: Path) -> dict[str, Any] | None:
        """Content of the result file, `found` as its type; None where there is none yet.

        Raises:
            UserError: A file of this name holds something else.
        """

        def parse(content: dict[str, Any]) -> dict[str, Any]:
            found = FOUND_TYPES[self.question].validate_python(content["found"])
            return {**content, "found": found}

        path = out / self.file_name
        return read_result(path, self.key, parse) if os.path.lexists(path) else None
