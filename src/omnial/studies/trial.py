"""One trial of a study: a training and its evaluation, kept as one small file under a key."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.layouts import discover
from omnial.evaluation.evaluate import evaluate_model
from omnial.model_folder.config_file import CONFIG_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.count import describe
from omnial.studies.results_store import SCHEMA, digest, provenance, read_result, write_result
from omnial.studies.row_figures import to_text
from omnial.studies.study_data import StudyData, name_of
from omnial.studies.study_rows import COMMON, Row, StudyOptions
from omnial.training.checkpoint import folder_of_checkpoints, read_identity, what_is_computed
from omnial.training.fit import train

RESAMPLES: Final = 300
"""Bootstrap resamples of each class's test images."""


class Trial(NamedTuple):
    """A training to do and evaluate."""

    row: Row
    settings: Settings
    roots: tuple[Path, ...]
    """Data folders: the study's, or one class's for a separate model."""
    only: str | None
    """The class of a separate model; None for a unified one."""
    key: str
    """Digest of settings and data: trials of equal keys are equal."""
    data: Mapping[str, Any]
    """Names and digest of the data, for the result file."""

    @property
    def label(self) -> str:
        """Row, seed and class, for people."""
        only = "" if self.only is None else f", {self.only} alone"
        return f"{self.row.label}, seed {self.settings.training.seed}{only}"

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        parts = [self.row.name, f"seed{self.settings.training.seed}", self.key[:10]]
        if self.only is not None:
            parts.insert(1, hashlib.sha256(self.only.encode()).hexdigest()[:6])
        return "-".join(parts) + ".json"


def plan_trials(
    row: Row, data: StudyData, options: StudyOptions, seed: int = 0, classes: Sequence[str] = ()
) -> list[Trial]:
    """The trials of a row with one seed: one, or one for each of `classes` of a separate row.

    Each separate model trains on an equal part of the images of the unified one.
    """
    root_of = {product.name: product.root for product in data.catalogue.classes}
    images = row.images or options.images
    budget = max(1, images // len(root_of)) if row.separate else images
    own = (f"training.seed={seed}", f"training.images={budget}")
    overrides = [*COMMON, *row.overrides, *options.overrides, *own]
    settings = load_settings(system=row.system, size=options.size, overrides=overrides)
    trials = []
    for only in classes if row.separate else (None,):
        roots = data.roots if only is None else (root_of[only],)
        names = sorted(root_of) if only is None else [only]
        facts = {
            "roots": [name_of(root) for root in data.roots],
            "classes": names,
            "digest": digest({name: data.digests[name] for name in names}),
        }
        key = digest([SCHEMA, what_is_computed(settings), facts["digest"]])
        trials.append(Trial(row, settings, roots, only, key, facts))
    return trials


def find_result(trial: Trial, out: Path) -> dict[str, Any] | None:
    """The result of a trial, from the study's folder or from a sibling's equal trial.

    A sibling's is copied, so that the folder is complete by itself.
    """
    own = out / trial.file_name
    if os.path.lexists(own):
        return read_result(own, trial.key)
    for path in sorted(out.parent.glob(f"*/*-{trial.key[:10]}.json")):
        result = read_result(path, trial.key)
        result["row"] = trial.row.name
        write_result(own, result)
        return result
    return None


def run_trial(trial: Trial, out: Path, work: Path, *, model: bool, progress: bool) -> None:
    """Make what is missing of a trial: its result, and its model where that is asked for.

    A training that was cut short goes on. The model stays in the working folder, without the
    state of its training; where it did not last and is asked for, it is trained again.
    """
    folder = model_folder(trial, work)
    missing = find_result(trial, out) is None
    finished = has_model(trial, work) and read_identity(folder) is None
    if (missing or model) and not finished:
        train(trial.settings, trial.roots, folder, resume=True, progress=progress)
    if missing:
        write_result(out / trial.file_name, _evaluate(trial, folder))
    shutil.rmtree(folder_of_checkpoints(folder), ignore_errors=True)


def model_folder(trial: Trial, work: Path) -> Path:
    """Where the model of a trial lies, or will lie."""
    return work / trial.key[:16]


def has_model(trial: Trial, work: Path) -> bool:
    """Whether the trained model of a trial is there: models need not last."""
    return (model_folder(trial, work) / CONFIG_FILE).is_file()


def _evaluate(trial: Trial, folder: Path) -> dict[str, Any]:
    model = load_model(folder)
    facts, settings = model.training, trial.settings
    catalogue = discover(trial.roots, need="test")
    evaluated = evaluate_model(model, catalogue, gallery_per_class=0, resamples=RESAMPLES)
    classes = {result.name: dict(result.figures) for result in evaluated.classes}
    replicates = {
        result.name: {metric: to_text(values) for metric, values in result.replicates.items()}
        for result in evaluated.classes
    }
    network = describe(settings.model, settings.data.height, settings.data.width)
    return {
        "schema": SCHEMA,
        "key": trial.key,
        "row": trial.row.name,
        "system": settings.system,
        "size": settings.size,
        "seed": settings.training.seed,
        "images": facts["images"],
        "steps": facts["steps"],
        "separate": trial.only,
        "data": dict(trial.data),
        "figures": {"mean": dict(evaluated.mean), "classes": classes},
        "replicates": replicates,
        "validation": facts["validation"],
        "parameters": {name: part["parameters"] for name, part in network["parts"].items()},
        "precision": facts["precision"],
        "training_seconds": facts["seconds"],
        **provenance(),
        "settings": what_is_computed(settings),
    }
