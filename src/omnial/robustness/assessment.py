"""Everything that is known about some models' robustness: what the report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial.data.records import BadFile
from omnial.robustness import perception
from omnial.robustness.checks import Check
from omnial.robustness.corrupted import CorruptedFigures
from omnial.robustness.figures import LevelFigures
from omnial.robustness.levels import Level
from omnial.robustness.perception import Perception
from omnial.robustness.published import CAVEATS, published
from omnial.robustness.score_attack import ScoreAttack
from omnial.robustness.white_box import WhiteBox


@dataclass(frozen=True)
class ModelAssessment:
    """One model.

    Attributes:
        name: What it is called in every table.
        folder: Its folder.
        facts: System, size, weights' SHA-256, adversarial training.
        transfer: Figures by level on the set, level `0` being the samples before the attack.
        white_box: Attacks on itself; None where they were not asked for.
        scores: Attacks on its verdicts over test images; None likewise.
        corruptions: By corruption and severity; empty likewise.
    """

    name: str
    folder: str
    facts: Mapping[str, Any]
    transfer: Mapping[str, LevelFigures]
    white_box: WhiteBox | None
    scores: ScoreAttack | None
    corruptions: Mapping[str, Mapping[str, CorruptedFigures]]

    def checks(self) -> list[tuple[str, Check]]:
        """The checks of every attack on this model, with the attack's name."""
        found = [("white box", check) for check in self.white_box.checks] if self.white_box else []
        if self.scores is not None:
            found += [("score", check) for check in self.scores.checks]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        box = self.white_box
        return {
            "folder": self.folder,
            **self.facts,
            "transfer": {name: figures.to_dict() for name, figures in self.transfer.items()},
            "white_box": None
            if box is None
            else {
                "levels": {name: figures.to_dict() for name, figures in box.levels.items()},
                "checks": [asdict(check) for check in box.checks],
            },
            "score_attack": None if self.scores is None else self.scores.to_dict(),
            "corruptions": {
                name: {severity: row.to_dict() for severity, row in rows.items()}
                for name, rows in self.corruptions.items()
            },
        }


@dataclass(frozen=True)
class Shot:
    """One sample of a class with what the models make of it.

    Attributes:
        class_name: Its class.
        mask: (H, W) bool, Y.
        images: (3, H, W) float32 a level, `0` being the sample before the attack.
        reconstructions: (3, H, W) float32 of each model for the targeted sample; None for a model
            that does not reconstruct.
        score_maps: (H, W) float32 of each model and level.
    """

    class_name: str
    mask: NDArray[np.bool_]
    images: Mapping[str, NDArray[np.float32]]
    reconstructions: Mapping[str, NDArray[np.float32] | None]
    score_maps: Mapping[str, Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Assessment:
    """Some models on one adversarial set.

    Attributes:
        set_facts: What the set is, JSON values.
        levels: Its levels, in the order of the tables.
        classes: Its classes.
        models: The models, in the order given.
        set_checks: The checks of the attack that made the set.
        perception: How imperceptible each level is, by class.
        shots: A sample of each class.
        bad_files: Test files that were left out.
        seconds: Wall-clock time.
    """

    set_facts: Mapping[str, Any]
    levels: tuple[Level, ...]
    classes: tuple[str, ...]
    models: tuple[ModelAssessment, ...]
    set_checks: tuple[Check, ...]
    perception: Mapping[str, Mapping[str, Perception]]
    shots: tuple[Shot, ...]
    bad_files: tuple[BadFile, ...] = ()
    seconds: float = 0.0

    def failed(self) -> list[str]:
        """The checks that failed, each with the attack that it belongs to, in words."""
        found = [f"set: {check.name}" for check in self.set_checks if not check.passed]
        for model in self.models:
            for attack, check in model.checks():
                if not check.passed:
                    found.append(f"{model.name}, {attack}: {check.name}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The content of robustness.json."""
        return {
            "set": {**self.set_facts, "checks": [asdict(check) for check in self.set_checks]},
            "levels": [asdict(level) for level in self.levels],
            "classes": list(self.classes),
            "models": {model.name: model.to_dict() for model in self.models},
            "perception": perception.to_dict(self.perception),
            "failed": self.failed(),
            "published": {"averages": [asdict(row) for row in published()], "caveats": CAVEATS},
            "bad_files": [{"path": str(b.path), "reason": b.reason} for b in self.bad_files],
            "seconds": round(self.seconds, 1),
        }

    def rows(self) -> Sequence[tuple[str, str, str, str, Mapping[str, float | None]]]:
        """Attack, model, level, class and figures of every table: the rows of robustness.csv."""
        found = []
        for model in self.models:
            tables = [("transfer", model.transfer)]
            if model.white_box is not None:
                tables.append(("white_box", model.white_box.levels))
            for name, severities in model.corruptions.items():
                tables.append((name, {s: row.figures for s, row in severities.items()}))
            for attack, levels in tables:
                for level, figures in levels.items():
                    for class_name, row in {**figures.classes, "mean": figures.mean}.items():
                        found.append((attack, model.name, level, class_name, row))
        return found
