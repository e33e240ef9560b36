"""Build an adversarial set from a model and defect-free images, class by class."""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omnial._version import __version__
from omnial.attacks.pgd import LEVELS, Schedule
from omnial.config.settings import AS_TRAINED, Reading, SynthesisSettings
from omnial.data.cache import open_cache
from omnial.data.checks import check_files
from omnial.data.dataset import ImageDataset, load_dataset
from omnial.data.layouts import discover
from omnial.data.records import BadFile, Catalogue, ProductClass
from omnial.errors import UserError, shown
from omnial.files import file_digest, locked, unused
from omnial.model_folder.config_file import WEIGHTS_FILE
from omnial.model_folder.weights_file import load_model
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent
from omnial.robustness.adversarial_set import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    AdversarialSet,
    ClassEntry,
    Identity,
    Manifest,
    class_arrays,
    read_manifest,
    write_class,
    write_manifest,
)
from omnial.robustness.clean_samples import draw_clean, perturbation
from omnial.robustness.objectives import attack_levels


@dataclass(frozen=True)
class SetPlan:
    """Size of a set, and how it is attacked."""

    samples: int = 50
    """Samples a class. [O]"""
    anomalous_share: float = 0.8
    """Share of them with a defect. [S]"""
    seed: int = 0
    """Of samples and attacks."""
    steps: int = 5
    """Steps of the attack. [P]"""
    alpha: float | None = None
    """Length of a step as a share of the radius; None is 2.5 / steps. [O]"""
    batch_size: int = 10
    """Samples that are attacked at once; changes speed, memory and rounding, which turns signs of
    gradients near zero: other perturbations, an attack as strong."""

    @property
    def schedule(self) -> Schedule:
        """Steps of the attack."""
        return Schedule(self.steps, self.alpha)


def build_set(
    model: Path,
    roots: Sequence[Path],
    out: Path,
    plan: SetPlan,
    *,
    skip_bad_files: bool = False,
    reading: Reading = AS_TRAINED,
    device: str = "auto",
    progress: Progress = silent,
) -> tuple[AdversarialSet, tuple[BadFile, ...]]:
    """Build an adversarial set, or go on with one: finished classes are kept.

    `model` is attacked, for the paper's protocol a `surrogate`; `out` is new, empty, or holds a set
    that was built from the same. Bad files that were left out come second.
    """
    with locked(out):
        started = time.perf_counter()
        trained = load_model(model, device, reading=reading)
        bad = "skip" if skip_bad_files else "fail"
        settings = trained.settings.data.model_copy(update={"on_bad_file": bad})
        cache = open_cache(settings)
        found = discover(roots, need="train")
        untested = Catalogue(tuple(replace(product, test=()) for product in found.classes))
        catalogue = check_files(untested, settings, progress=progress, cache=cache)
        identity = _identity(trained, file_digest(model / WEIGHTS_FILE), catalogue, plan)
        manifest = _begin(out, identity)
        if not manifest.finished:
            records = [record for product in catalogue.classes for record in product.train]
            dataset = load_dataset(records, catalogue, settings, cache)
            labels = [record.class_name for record in records]
        for product in catalogue.classes[len(manifest.classes) :]:
            attacked = partial(progress, f"attacking {product.name}")
            entry = _build_class(trained, dataset, labels, product, plan, out, attacked)
            facts = {
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.perf_counter() - started, 1),
                "device": str(next(trained.network.parameters()).device),
                "machine": platform.machine(),
                "torch": torch.__version__,
                "batch_size": plan.batch_size,
            }
            manifest = Manifest(identity=identity, classes=(*manifest.classes, entry), made=facts)
            write_manifest(out, manifest)
        return AdversarialSet(out), catalogue.bad_files


def _build_class(
    model: TrainedModel,
    dataset: ImageDataset,
    labels: Sequence[str],
    product: ProductClass,
    plan: SetPlan,
    out: Path,
    progress: Callable[[int, int], None],
) -> ClassEntry:
    parts: list[dict[str, NDArray[Any]]] = []
    sources: list[str] = []
    areas: list[int] = []
    drawn = (_recipe(model), plan.anomalous_share, plan.seed)
    for start in range(0, plan.samples, plan.batch_size):
        numbers = range(start, min(start + plan.batch_size, plan.samples))
        clean = draw_clean(dataset, labels, product, numbers, *drawn)
        attacks = {}
        for level, images, trace in attack_levels(model, clean, LEVELS, plan.schedule, plan.seed):
            steps = perturbation(images.cpu().numpy(), clean.anomalous, level.grey_levels)
            attacks[level.name] = (steps, trace)
        parts.append(class_arrays(clean, attacks))
        sources += map(shown, clean.sources)
        areas += clean.mask.sum(axis=(1, 2)).tolist()
        progress(numbers.stop, plan.samples)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    digest = write_class(out, product.name, arrays)
    return ClassEntry(
        name=product.name, sha256=digest, sources=tuple(sources), defect_pixels=tuple(areas)
    )


def _recipe(model: TrainedModel) -> SynthesisSettings:
    """The model's own recipe with panels: the surrogate learns without, but every set has them."""
    return model.settings.synthesis.model_copy(update={"panels": True})


def _begin(out: Path, identity: Identity) -> Manifest:
    """The manifest in a folder, which must be of this set; a new one where there is none."""
    if (out / MANIFEST_FILE).is_file():
        manifest = read_manifest(out)
        before, now = dict(manifest.identity), dict(identity)
        if differ := [name for name in now if before[name] != now[name]]:
            raise UserError(
                f"{out}: holds a set that was built otherwise ({', '.join(differ)} differ). "
                "Repeat what it was built with, or choose another --out."
            )
        return manifest
    if not unused(out, MANIFEST_FILE):
        raise UserError(f"{out}: the folder is not empty and holds no set. Choose another --out.")
    manifest = Manifest(identity=identity, classes=(), made={})
    write_manifest(out, manifest)
    return manifest


def _identity(model: TrainedModel, weights: str, catalogue: Catalogue, plan: SetPlan) -> Identity:
    settings = model.settings
    foreign = [name for name in catalogue.names if name not in model.classes]
    if foreign:
        raise UserError(
            f"the model has not learned {', '.join(foreign)}, so an attack on it would say nothing "
            f"about them. It knows {', '.join(model.classes)}; give --data of these alone."
        )
    return Identity(
        schema_version=SCHEMA_VERSION,
        version=__version__,
        surrogate={"system": settings.system, "size": settings.size, "weights_sha256": weights},
        seed=plan.seed,
        samples=plan.samples,
        anomalous_share=plan.anomalous_share,
        steps=plan.steps,
        alpha=plan.schedule.step_length(1.0),
        levels=LEVELS,
        size=(settings.data.height, settings.data.width),
        geometry=settings.data.geometry,
        recipe=_recipe(model).model_dump(mode="json"),
        objective=settings.objective.model_dump(mode="json"),
        data={
            product.name: _data_digest(product, settings.data.significant_bits)
            for product in catalogue.classes
        },
    )


def _data_digest(product: ProductClass, bits: int) -> str:
    """SHA-256 over the training images of a class, in order: how they are read, names, contents."""
    whole = hashlib.sha256(b"" if bits == 16 else f"{bits}\0".encode())
    for record in product.train:
        line = f"{record.path.name}\0{file_digest(record.path)}\0"
        # A file's name may hold bytes that are no text.
        whole.update(line.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
