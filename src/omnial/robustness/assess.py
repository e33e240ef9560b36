"""Assess models: transfer, white box, verdicts on test images, corruptions; then write figures."""

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.data.records import Catalogue
from omnial.errors import UserError
from omnial.files import file_digest, replacing, writing
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.assessment import Assessment, ModelAssessment, Shot
from omnial.robustness.corrupted import evaluate_corrupted
from omnial.robustness.figures import FIGURES
from omnial.robustness.levels import UNATTACKED
from omnial.robustness.perception import measure_perception
from omnial.robustness.score_attack import attack_scores
from omnial.robustness.transfer import check_fits, evaluate_on_set
from omnial.robustness.white_box import WhiteBoxPlan, attack_white_box

FIGURES_FILE = "robustness.json"
TABLE_FILE = "robustness.csv"

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class AssessmentPlan:
    """What is assessed.

    Attributes:
        white_box: How hard models are attacked themselves, on the set and in their verdicts on
            test images; None leaves both out.
        data: Folders with test images, for attacks on verdicts and for corruptions.
        corruptions: Whether to evaluate on corrupted test images.
        batch_size: Samples that go through a network at once.
        seed: Of what corruptions draw.
        skip_bad_files: Leave unreadable test files out instead of stopping.
        reading: How test files are read, where that differs from the training.
    """

    white_box: WhiteBoxPlan | None
    data: Sequence[Path] = ()
    corruptions: bool = False
    batch_size: int = 16
    seed: int = 0
    skip_bad_files: bool = False
    reading: Reading = AS_TRAINED


def assess(
    folder: Path,
    models: Sequence[Path],
    plan: AssessmentPlan,
    *,
    names: Sequence[str] | None = None,
    device: str = "auto",
    tell: Tell | None = None,
) -> Assessment:
    """Assess models on an adversarial set.

    Args:
        folder: The set, as `omnial attack` wrote it.
        models: Model folders.
        plan: What to assess.
        names: What the models are called; None is the names of their folders.
        device: A PyTorch device name, or `auto`.
        tell: Told about progress.

    Raises:
        UserError: The set was changed, a model does not fit it, the data is bad, or the plan has
            corruptions without data, or data that nothing in it uses.
        RunError: A model's scores are not finite.
    """
    started = time.perf_counter()
    if plan.corruptions and not plan.data:
        raise UserError("corruptions need test images: give --data with --corruptions")
    if plan.data and plan.white_box is None and not plan.corruptions:
        raise UserError(
            "test images without use: verdicts on them are attacked in the model itself, which "
            "--no-white-box leaves out. Leave --data or --no-white-box away, or add --corruptions"
        )
    tell = tell or (lambda what, done, total: None)
    data = AdversarialSet(folder)
    names = _names(models) if names is None else names
    # Everything that can be refused is refused before the first figure is computed.
    trained = {
        name: load_model(path, device, reading=plan.reading)
        for name, path in zip(names, models, strict=True)
    }
    for name, model in trained.items():
        check_fits(model, name, data)
    catalogues = {name: _catalogue(model, plan, tell) for name, model in trained.items()}
    found = [
        _assess_model(name, path, trained[name], data, catalogues[name], plan, tell)
        for name, path in zip(names, models, strict=True)
    ]
    some = next(iter(catalogues.values()), None)
    return Assessment(
        set_facts=set_facts(data),
        levels=data.levels,
        classes=data.classes,
        models=tuple(found),
        set_checks=tuple(data.checks()),
        perception=measure_perception(data, plan.batch_size),
        shots=tuple(_shot(data, class_name, trained) for class_name in data.classes),
        bad_files=() if some is None else some.bad_files,
        seconds=time.perf_counter() - started,
    )


def write_figures(assessment: Assessment, out: Path) -> None:
    """Write `robustness.json` and `robustness.csv`, each whole or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    with writing("The figures", out):
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / FIGURES_FILE) as part:
            content = assessment.to_dict()
            text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
            part.write_text(text + "\n", encoding="utf-8")
        with (
            replacing(out / TABLE_FILE) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("attack", "model", "level", "class", *FIGURES))
            for attack, model, level, class_name, figures in assessment.rows():
                values = (figures[name] for name in FIGURES)
                table.writerow((attack, model, level, class_name, *values))


def _assess_model(
    name: str,
    folder: Path,
    model: TrainedModel,
    data: AdversarialSet,
    catalogue: Catalogue | None,
    plan: AssessmentPlan,
    tell: Tell,
) -> ModelAssessment:
    counts = {name: len(data.entries(name)) for name in data.classes}
    transfer = evaluate_on_set(
        model, data, plan.batch_size, _counting(tell, f"{name}: transfer", sum(counts.values()))
    )
    box = scores = None
    if plan.white_box is not None:
        total = sum(min(count, plan.white_box.samples) for count in counts.values())
        counted = _counting(tell, f"{name}: white box", total)
        box = attack_white_box(model, data, plan.white_box, counted)
        if catalogue is not None:
            scores = attack_scores(
                *(model, catalogue, plan.white_box),
                lambda done, total: tell(f"{name}: verdicts", done, total),
            )
    corruptions: Mapping[str, Any] = {}
    if plan.corruptions and catalogue is not None:
        corruptions = evaluate_corrupted(
            model,
            catalogue,
            seed=plan.seed,
            batch_size=plan.batch_size,
            on_progress=lambda done, total: tell(f"{name}: corruptions", done, total),
        )
    facts = _model_facts(folder, model)
    return ModelAssessment(name, str(folder), facts, transfer, box, scores, corruptions)


def _counting(tell: Tell, what: str, total: int) -> Callable[[int], None]:
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        tell(what, done, total)

    return advance


def _names(models: Sequence[Path]) -> list[str]:
    """A name for each model folder: its own, or its path where two have the same.

    Raises:
        UserError: A folder is given twice.
    """
    paths = [path.resolve() for path in models]
    if len(set(paths)) != len(paths):
        raise UserError("the same model folder is given twice; name each once")
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, models, strict=True)
    ]


def _catalogue(model: TrainedModel, plan: AssessmentPlan, tell: Tell) -> Catalogue | None:
    """The test images, checked; None where none are given."""
    if not plan.data:
        return None
    bad = "skip" if plan.skip_bad_files else "fail"
    settings = model.settings.data.model_copy(update={"on_bad_file": bad})
    return check_files(
        discover(plan.data, need="test"),
        settings,
        progress=lambda done, total: tell("checking files", done, total),
    )


def set_facts(data: AdversarialSet) -> dict[str, Any]:
    """What a set is and how it was made: JSON values."""
    identity = data.manifest.identity
    return {
        "folder": str(data.folder),
        "surrogate": identity.surrogate,
        "seed": identity.seed,
        "samples_per_class": identity.samples,
        "samples": len(data.manifest.samples),
        "anomalous": sum(entry.defect_pixels > 0 for entry in data.manifest.samples),
        "steps": identity.steps,
        "alpha": identity.alpha,
        "size": identity.size,
        "made": dict(data.manifest.made),
    }


def _model_facts(folder: Path, model: TrainedModel) -> dict[str, Any]:
    """What a model is and how it was trained: JSON values."""
    return {
        "system": model.settings.system,
        "size": model.settings.size,
        "weights_sha256": file_digest(folder / WEIGHTS_FILE),
        "training": dict(model.training),
    }


def _shot(data: AdversarialSet, class_name: str, models: Mapping[str, TrainedModel]) -> Shot:
    """The first sample of a class that has a defect, or the first at all, through every model."""
    entries = data.entries(class_name)
    place = next((n for n, entry in enumerate(entries) if entry.defect_pixels), 0)
    (batch,) = list(data.batches(class_name, 1, place + 1))[-1:]
    levels = (UNATTACKED, *(level.name for level in data.levels))
    images = {name: batch.images(name) for name in levels}
    targeted = next((level.name for level in data.levels if level.targeted), UNATTACKED)
    restored: dict[str, NDArray[np.float32] | None] = {}
    maps: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, model in models.items():
        backend = TorchBackend(model)
        found = {level: backend.run(images[level], batch.clean.valid) for level in levels}
        rebuilt = found[targeted].reconstruction
        restored[name] = None if rebuilt is None else rebuilt[0]
        maps[name] = {level: prediction.score_maps[0] for level, prediction in found.items()}
    pixels = {name: values[0] for name, values in images.items()}
    return Shot(class_name, batch.clean.mask[0], pixels, restored, maps)
