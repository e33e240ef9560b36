"""Evaluate the robustness of models: transfer, white box, verdicts on test images, corruptions."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial.attacks.pgd import UNATTACKED, Level
from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.data.records import BadFile, Catalogue
from omnial.errors import UserError
from omnial.files import file_digest
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.normality_network import backends
from omnial.models.prediction import Prediction
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.attack_checks import Check
from omnial.robustness.corruptions import CorruptedFigures, evaluate_corrupted
from omnial.robustness.transfer import (
    CAVEATS,
    LevelFigures,
    check_fits,
    evaluate_on_set,
    measure_perception,
    published,
)
from omnial.robustness.white_box import (
    VerdictAttack,
    WhiteBox,
    WhiteBoxPlan,
    attack_verdicts,
    attack_white_box,
)


@dataclass(frozen=True)
class RobustnessPlan:
    """Which attacks and corruptions models are evaluated under."""

    white_box: WhiteBoxPlan | None
    """How hard models are attacked themselves, on the set and in their verdicts on test images;
    None leaves both out."""
    data: Sequence[Path] = ()
    """Folders with test images, for attacks on verdicts and for corruptions."""
    corruptions: bool = False
    """Whether to evaluate on corrupted test images."""
    batch_size: int = 16
    skip_bad_files: bool = False
    """Leave unreadable test files out instead of stopping."""
    reading: Reading = AS_TRAINED
    """How test files are read, where that differs from the training."""


@dataclass(frozen=True)
class ModelRobustness:
    """Figures of one model; what was not asked for is None or empty."""

    name: str
    """What it is called in every table."""
    folder: str
    facts: Mapping[str, Any]
    """System, size, weights' SHA-256, training."""
    transfer: Mapping[str, LevelFigures]
    """By level of the set, level `0` being the samples before the attack."""
    white_box: WhiteBox | None
    verdicts: VerdictAttack | None
    corruptions: Mapping[str, Mapping[str, CorruptedFigures]]
    """By corruption and severity."""


@dataclass(frozen=True)
class Example:
    """One sample of a class, with the predictions of every model for it."""

    class_name: str
    mask: NDArray[np.bool_]
    """(H, W), Y."""
    images: Mapping[str, NDArray[np.float32]]
    """(1, 3, H, W) a level, `0` being the sample before the attack."""
    predictions: Mapping[str, Mapping[str, Prediction]]
    """By model and level."""


@dataclass(frozen=True)
class RobustnessResult:
    """Figures of some models on one adversarial set."""

    set_facts: Mapping[str, Any]
    """What the set is, JSON values."""
    levels: tuple[Level, ...]
    """Its levels, in the order of the tables."""
    classes: tuple[str, ...]
    models: tuple[ModelRobustness, ...]
    set_checks: tuple[Check, ...]
    """Checks of the attack that made the set."""
    perception: Mapping[str, Mapping[str, Mapping[str, float]]]
    """`PERCEPTION` of each level, by class."""
    examples: tuple[Example, ...] = ()
    """A sample of each class."""
    bad_files: tuple[BadFile, ...] = ()
    """Test files that were left out."""
    seconds: float = 0.0
    """Wall-clock time."""

    def attacks(self) -> dict[str, dict[str, Mapping[str, LevelFigures]]]:
        """Figures by attack (`transfer`, and `white_box` where it was made), model and level."""
        found = {"transfer": {model.name: model.transfer for model in self.models}}
        boxes = {m.name: m.white_box.levels for m in self.models if m.white_box is not None}
        return {**found, "white_box": boxes} if boxes else found

    def checks(self) -> list[tuple[str, Check]]:
        """Every check, with the attack that it belongs to in words."""
        found = [("perturbations of the set", check) for check in self.set_checks]
        for model in self.models:
            for words, attack in (("white box", model.white_box), ("verdicts", model.verdicts)):
                if attack is not None:
                    found += [(f"{words} on {model.name}", check) for check in attack.checks]
        return found

    def failed(self) -> list[str]:
        """Checks that failed, each with the attack that it belongs to, in words."""
        return [f"{attack}: {check.name}" for attack, check in self.checks() if not check.passed]

    def to_dict(self) -> dict[str, Any]:
        """Content of robustness.json."""
        models = {}
        for model in self.models:
            values = asdict(model)
            models[values.pop("name")] = {**values.pop("facts"), **values}
        averages = [row._asdict() for row in published()]
        return {
            "set": {**self.set_facts, "checks": [asdict(check) for check in self.set_checks]},
            "levels": [asdict(level) for level in self.levels],
            "classes": list(self.classes),
            "models": models,
            "perception": self.perception,
            "failed": self.failed(),
            "published": {"averages": averages, "caveats": CAVEATS},
            "bad_files": [bad.to_dict() for bad in self.bad_files],
            "seconds": round(self.seconds, 1),
        }


def evaluate_robustness(
    folder: Path,
    models: Sequence[Path],
    plan: RobustnessPlan,
    *,
    names: Sequence[str] | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> RobustnessResult:
    """Evaluate model folders on the adversarial set that `omnial attack` wrote into a folder.

    `names` are what the models are called; None is the names of their folders.
    """
    started = time.perf_counter()
    if plan.corruptions and not plan.data:
        raise UserError("corruptions need test images: give --data with --corruptions")
    if plan.data and plan.white_box is None and not plan.corruptions:
        raise UserError(
            "test images without use: verdicts on them are attacked in the model itself, which "
            "--no-white-box leaves out. Leave --data or --no-white-box away, or add --corruptions"
        )
    data = AdversarialSet(folder)
    # Everything that can be refused is refused before the first figure is computed.
    trained = {
        name: load_model(path, device, reading=plan.reading)
        for name, path in zip(names or _names(models), models, strict=True)
    }
    for name, model in trained.items():
        check_fits(model, name, data)
    catalogues = _check_test_images(trained, plan, progress)
    found = [
        _evaluate_model(name, path, model, data, catalogues.get(name), plan, progress)
        for path, (name, model) in zip(models, trained.items(), strict=True)
    ]
    return RobustnessResult(
        set_facts=data.facts(),
        levels=data.levels,
        classes=data.classes,
        models=tuple(found),
        set_checks=tuple(data.checks()),
        perception=measure_perception(data, plan.batch_size),
        examples=tuple(_example(data, class_name, trained) for class_name in data.classes),
        bad_files=next((found.bad_files for found in catalogues.values()), ()),
        seconds=time.perf_counter() - started,
    )


def _names(models: Sequence[Path]) -> list[str]:
    """A name for each model folder: its own, or its path where two have the same."""
    paths = [path.resolve() for path in models]
    if len(set(paths)) != len(paths):
        raise UserError("the same model folder is given twice; name each once")
    names = [path.name for path in paths]
    pairs = zip(names, models, strict=True)
    return [name if names.count(name) == 1 else str(path) for name, path in pairs]


def _check_test_images(
    models: Mapping[str, TrainedModel], plan: RobustnessPlan, progress: Progress
) -> dict[str, Catalogue]:
    """The test images of each model, checked once for all that read them alike."""
    if not plan.data:
        return {}
    found = discover(plan.data, need="test")
    bad = {"on_bad_file": "skip" if plan.skip_bad_files else "fail"}
    settings = {name: m.settings.data.model_copy(update=bad) for name, m in models.items()}
    kinds = dict.fromkeys(settings.values())
    checked = {one: check_files(found, one, progress=progress) for one in kinds}
    return {name: checked[one] for name, one in settings.items()}


def _evaluate_model(
    name: str,
    folder: Path,
    model: TrainedModel,
    data: AdversarialSet,
    catalogue: Catalogue | None,
    plan: RobustnessPlan,
    progress: Progress,
) -> ModelRobustness:
    def report(what: str, done: int, total: int) -> None:
        progress(f"{name}: {what}", done, total)

    box = plan.white_box
    return ModelRobustness(
        name=name,
        folder=str(folder),
        facts={
            "system": model.settings.system,
            "size": model.settings.size,
            "weights_sha256": file_digest(folder / WEIGHTS_FILE),
            "training": dict(model.training),
        },
        transfer=evaluate_on_set(backends(model), data, plan.batch_size, report),
        white_box=attack_white_box(model, data, box, report) if box else None,
        verdicts=attack_verdicts(model, catalogue, box, report) if box and catalogue else None,
        corruptions=evaluate_corrupted(model, catalogue, plan.batch_size, report)
        if plan.corruptions and catalogue
        else {},
    )


def _example(data: AdversarialSet, class_name: str, models: Mapping[str, TrainedModel]) -> Example:
    """The first sample of a class that has a defect, or the first at all, through every model."""
    areas = data.defect_pixels[class_name]
    number = next((n for n, area in enumerate(areas) if area), 0)
    *_, batch = data.batches(class_name, 1, number + 1)
    images = {name: batch.images(name) for name in (UNATTACKED, *(x.name for x in data.levels))}
    engines = {name: backends(model)(class_name) for name, model in models.items()}
    predictions = {
        name: {level: engine.run(values, batch.valid) for level, values in images.items()}
        for name, engine in engines.items()
    }
    return Example(class_name, batch.mask[0], images, predictions)
