"""The parts of the robustness study: what is asked of each model, each answer one small file.

A part depends on the model, on the set where it looks at one, and on how hard the question is put.
A digest of all that is its key: what stands in the study's folder under this key is not computed
again.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from omnial.robustness.assessment import Assessment, ModelAssessment
from omnial.robustness.checks import Check
from omnial.robustness.corrupted import CorruptedFigures
from omnial.robustness.figures import LevelFigures
from omnial.robustness.levels import LEVELS
from omnial.robustness.making import SetPlan
from omnial.robustness.perception import Perception
from omnial.robustness.score_attack import ScoreAttack
from omnial.robustness.white_box import WhiteBox, WhiteBoxPlan
from omnial.studies.results_store import SCHEMA, digest, provenance, read_result, write_result
from omnial.studies.trial import Trial


@dataclass(frozen=True)
class SetFindings:
    """What is known about the adversarial set itself.

    Attributes:
        facts: What it is, see `omnial.robustness.assess.set_facts`.
        checks: Whether the attack that made it is one.
        perception: How imperceptible each level is, by class.
    """

    facts: Mapping[str, Any]
    checks: tuple[Check, ...]
    perception: Mapping[str, Mapping[str, Perception]]


SET: Final = "set"
TRANSFER, WHITE_BOX, VERDICTS, CORRUPTIONS = "transfer", "white-box", "verdicts", "corruptions"
PARTS: Final = (TRANSFER, WHITE_BOX, CORRUPTIONS, VERDICTS)
"""What is asked of each model, in the order in which it is computed."""

_TYPES: Final[Mapping[str, TypeAdapter[Any]]] = {
    SET: TypeAdapter(SetFindings),
    TRANSFER: TypeAdapter(dict[str, LevelFigures]),
    WHITE_BOX: TypeAdapter(WhiteBox),
    VERDICTS: TypeAdapter(ScoreAttack),
    CORRUPTIONS: TypeAdapter(dict[str, dict[str, CorruptedFigures]]),
}


@dataclass(frozen=True)
class Demands:
    """How hard the questions are put.

    Attributes:
        set: The adversarial set.
        white_box: Attacks on each model itself, and on its verdicts.
        corruption_images: Test images of each class under every corruption, half of them good.
    """

    set: SetPlan
    white_box: WhiteBoxPlan
    corruption_images: int

    def of(self, part: str) -> dict[str, Any]:
        """What a part's answer depends on beside model and set."""
        if part == SET:
            return _without_batch(asdict(self.set))
        if part in (WHITE_BOX, VERDICTS):
            return _without_batch(asdict(self.white_box))
        return {"images": self.corruption_images} if part == CORRUPTIONS else {}


@dataclass(frozen=True)
class Part:
    """One question to one model, or to the set.

    Attributes:
        name: `set`, or one of `PARTS`.
        row: Name of the row; for the set, of its surrogate.
        key: Digest of all that the answer depends on.
    """

    name: str
    row: str
    key: str

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        return f"{self.row}-{self.name}-{self.key[:10]}.json"


def plan_parts(
    surrogate: Trial, jobs: Mapping[str, Trial], demands: Demands
) -> tuple[Part, dict[tuple[str, str], Part]]:
    """The parts of a study.

    Args:
        surrogate: The attacked model.
        jobs: The judged models, by row.
        demands: How hard the questions are put.

    Returns:
        The set's part, and by row and name those of the models.
    """
    own = Part(SET, surrogate.row.name, digest([SCHEMA, surrogate.key, demands.of(SET)]))
    parts = {}
    for row, job in jobs.items():
        for name in PARTS:
            on_set = name in (TRANSFER, WHITE_BOX)
            facts = [SCHEMA, name, job.key, own.key if on_set else None, demands.of(name)]
            parts[row, name] = Part(name, row, digest(facts))
    return own, parts


def read_part(part: Part, out: Path) -> dict[str, Any] | None:
    """A part's file with `found` as the type that the part has; None where there is none yet.

    Raises:
        UserError: A file of this name holds something else.
    """
    path = out / part.file_name
    if not os.path.lexists(path):
        return None

    def whole(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "found": _TYPES[part.name].validate_python(content["found"])}

    return read_result(path, part.key, whole)


def write_part(
    part: Part,
    out: Path,
    found: object,
    demands: Demands,
    seconds: float,
    weights: tuple[str, str | None],
) -> dict[str, Any]:
    """Keep a part's answer.

    Args:
        part: The part.
        out: The study's folder.
        found: The answer, of the part's type.
        demands: How hard the question was put.
        seconds: Wall-clock time of the answer.
        weights: SHA-256 of the weights that were asked, and of those that the set was made from
            where it was looked at: a model that is trained again on another machine may have
            others under the same key.

    Returns:
        The same as `read_part`.

    Raises:
        RunError: It cannot be written.
    """
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "key": part.key,
        "row": part.row,
        "part": part.name,
        "demands": demands.of(part.name),
        "weights_sha256": weights[0],
        "surrogate_sha256": weights[1],
        "seconds": round(seconds, 1),
        **provenance(),
        "found": _TYPES[part.name].dump_python(found, mode="json"),
    }
    write_result(out / part.file_name, content)
    return {**content, "found": found}


def assemble(
    set_part: Part,
    parts: Mapping[tuple[str, str], Part],
    jobs: Mapping[str, Trial],
    answers: Mapping[Part, Mapping[str, Any]],
) -> Assessment | None:
    """What is known as one assessment, without pictures.

    Args:
        set_part: The set's part.
        parts: The models' parts, by row and name.
        jobs: The judged models, by row.
        answers: The parts that are answered, as `read_part` gives them.

    Returns:
        The models that were judged on the set, by their labels; None where there is none.
    """
    if set_part not in answers:
        return None
    about: SetFindings = answers[set_part]["found"]
    models = []
    for row, job in jobs.items():
        found: dict[str, Any] = dict.fromkeys(PARTS)
        for name in PARTS:
            if parts[row, name] in answers:
                found[name] = answers[parts[row, name]]["found"]
        if found[TRANSFER] is not None:
            models.append(
                ModelAssessment(
                    name=job.row.label,
                    folder="",
                    facts={"system": job.settings.system, "size": job.settings.size},
                    transfer=found[TRANSFER],
                    white_box=found[WHITE_BOX],
                    scores=found[VERDICTS],
                    corruptions=found[CORRUPTIONS] or {},
                )
            )
    if not models:
        return None
    return Assessment(
        set_facts=about.facts,
        levels=LEVELS,
        classes=tuple(next(iter(models[0].transfer.values())).classes),
        models=tuple(models),
        set_checks=about.checks,
        perception=about.perception,
        shots=(),
    )


def _without_batch(plan: dict[str, Any]) -> dict[str, Any]:
    """How many samples go through at once changes speed and memory alone."""
    return {name: value for name, value in plan.items() if name != "batch_size"}
