"""One run of a row: train, evaluate, keep one small file of figures under a key."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.layouts import discover
from omnial.evaluation.evaluate import evaluate_model
from omnial.evaluation.result import FIGURES
from omnial.metrics.means import mean_figures
from omnial.model_folder.config_file import CONFIG_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.count import describe
from omnial.studies.plan import COMMON, Row
from omnial.studies.roots import StudyData, name_of
from omnial.studies.storage import SCHEMA, provenance, read_result, write_result
from omnial.training.fit import train
from omnial.training.run_identity import folder_of_checkpoints, read_identity, what_is_computed


class _Figures(BaseModel):
    mean: dict[str, float | None]
    classes: dict[str, dict[str, float | None]]


class _Machine(BaseModel):
    cores: int
    cpu: str
    torch: str
    commit: str


class _Data(BaseModel):
    roots: list[str]


class _Result(BaseModel):
    """What the page of a study takes from a result; the rest is for its reader."""

    model_config = ConfigDict(extra="allow", strict=True)

    size: str
    images: int
    separate: str | None
    precision: str
    figures: _Figures
    machine: _Machine
    data: _Data


_READ: Final = TypeAdapter(_Result)


@dataclass(frozen=True)
class Job:
    """A training to do and evaluate.

    Attributes:
        row: The row it belongs to.
        settings: The run, its seed and budget among them.
        roots: Data folders: the study's, or one class's for a separate model.
        only: The class of a separate model; None for a unified one.
        key: Digest of settings and data: equal keys are equal runs.
        data: What was trained and evaluated on, as the result tells it.
    """

    row: Row
    settings: Settings
    roots: tuple[Path, ...]
    only: str | None
    key: str
    data: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What it is called while it runs."""
        only = "" if self.only is None else f", {self.only} alone"
        return f"{self.row.label}, seed {self.settings.training.seed}{only}"

    @property
    def file_name(self) -> str:
        """Name of the result file."""
        parts = [self.row.name, f"seed{self.settings.training.seed}", self.key[:10]]
        if self.only is not None:
            parts.insert(1, hashlib.sha256(self.only.encode()).hexdigest()[:6])
        return "-".join(parts) + ".json"


def plan_jobs(
    row: Row,
    data: StudyData,
    *,
    size: str,
    images: int,
    overrides: Sequence[str],
    seed: int = 0,
    classes: Sequence[str] = (),
) -> list[Job]:
    """The trainings of a row with one seed.

    Args:
        row: The row.
        data: The study's data.
        size: Name of the size.
        images: Images of the unified model; each separate model gets an equal part of them.
        overrides: Settings of all rows, over the rows' own.
        seed: Seed of every draw.
        classes: The classes that a separate row trains on.

    Raises:
        UserError: Impossible settings.
    """
    places = {product.name: product.root for product in data.catalogue.classes}
    parts: list[tuple[tuple[Path, ...], str | None]] = [(data.roots, None)]
    budget = images
    if row.separate:
        parts = [((places[name],), name) for name in classes]
        budget = max(1, images // len(places))
    settings = load_settings(
        system=row.system,
        size=size,
        overrides=[
            *COMMON,
            *row.overrides,
            *overrides,
            f"training.seed={seed}",
            f"training.images={budget}",
        ],
    )
    jobs = []
    for own_roots, only in parts:
        names = sorted(places) if only is None else [only]
        facts = {
            "roots": [name_of(root) for root in data.roots],
            "classes": names,
            "digest": digest({name: data.digests[name] for name in names}),
        }
        key = digest([SCHEMA, what_is_computed(settings), facts["digest"]])
        jobs.append(Job(row, settings, own_roots, only, key, facts))
    return jobs


def digest(values: object) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def find_result(job: Job, out: Path) -> dict[str, Any] | None:
    """The result of a job, from the study's folder or a sibling's that ran the same.

    A sibling's is copied, so that the folder is complete by itself.

    Raises:
        UserError: A file of this name holds something else.
        RunError: The copy cannot be written.
    """
    own = out / job.file_name
    if os.path.lexists(own):
        return read_result(own, job.key, _whole)
    for path in sorted(out.parent.glob(f"*/*-{job.key[:10]}.json")):
        result = read_result(path, job.key, _whole)
        result["row"] = job.row.name
        write_result(own, result)
        return result
    return None


def run_job(job: Job, out: Path, work: Path, progress: bool) -> dict[str, Any]:
    """Train and evaluate, going on with an earlier start, and keep the result.

    The model stays in `work/KEY`, without the state of its training. One that is there without it
    is finished, and is only evaluated.

    Returns:
        What the result file holds.

    Raises:
        UserError: Unusable data.
        RunError: A result cannot be written.
    """
    folder = model_folder(job, work)
    if not (has_model(job, work) and read_identity(folder) is None):
        train(job.settings, job.roots, folder, resume=True, progress=progress)
    model = load_model(folder)
    facts = model.training
    evaluated = evaluate_model(model, discover(job.roots, need="test"), gallery_per_class=0)
    classes = {result.name: dict(result.figures) for result in evaluated.classes}
    network = describe(job.settings.model, job.settings.data.height, job.settings.data.width)
    result = {
        "schema": SCHEMA,
        "key": job.key,
        "row": job.row.name,
        "system": job.settings.system,
        "size": job.settings.size,
        "seed": job.settings.training.seed,
        "images": facts["images"],
        "steps": facts["steps"],
        "separate": job.only,
        "data": dict(job.data),
        "figures": {"mean": dict(evaluated.mean), "classes": classes},
        "validation": facts["validation"],
        "parameters": {name: part["parameters"] for name, part in network["parts"].items()},
        "precision": facts["precision"],
        "training_seconds": facts["seconds"],
        **provenance(),
        "settings": what_is_computed(job.settings),
    }
    write_result(out / job.file_name, result)
    shutil.rmtree(folder_of_checkpoints(folder), ignore_errors=True)
    return result


def see_to(job: Job, out: Path, work: Path, *, weights: bool, progress: bool) -> None:
    """See to it that a job's result is there, and its model where that is needed.

    Args:
        job: The job.
        out: Folder of the results.
        work: Folder of the models.
        weights: The model is needed, not only the result: it is trained again if it did not last.
        progress: Show the training's progress.

    Raises:
        UserError: Unusable data.
        RunError: A result or a model cannot be written.
    """
    if find_result(job, out) is None:
        run_job(job, out, work, progress)
    elif weights and not has_model(job, work):
        train(job.settings, job.roots, model_folder(job, work), resume=True, progress=progress)
        shutil.rmtree(folder_of_checkpoints(model_folder(job, work)), ignore_errors=True)


def model_folder(job: Job, work: Path) -> Path:
    """Where the model of a job lies, or will lie."""
    return work / job.key[:16]


def has_model(job: Job, work: Path) -> bool:
    """Whether the model of a job is there, finished: models need not last."""
    return (model_folder(job, work) / CONFIG_FILE).is_file()


def merge_classes(results: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """The figures of some classes from the results of one row and seed, and their mean.

    Args:
        results: One for a unified row, one for each class of a separate row.
        classes: The classes that count.

    Returns:
        `mean` and `classes` as in a result's `figures`.
    """
    found: dict[str, Any] = {}
    for result in results:
        found |= result["figures"]["classes"]
    chosen = {name: found[name] for name in classes}
    mean, _ = mean_figures(list(chosen.values()), FIGURES)
    return {"mean": mean, "classes": chosen}


def _whole(result: dict[str, Any]) -> dict[str, Any]:
    _READ.validate_python(result)
    return result
