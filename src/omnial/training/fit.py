"""Train one model on all classes, and write its folder."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import nn

from omnial._version import __version__
from omnial.config.settings import Settings
from omnial.data.cache import InputCache, open_cache
from omnial.data.dataset import ImageDataset, class_regions, load_dataset
from omnial.data.layouts import discover
from omnial.data.listing import image_files, subfolders, warn_of_left_out
from omnial.distributed import collectives
from omnial.distributed.launch import launched, read_processes
from omnial.errors import UserError
from omnial.files import StrPath, as_path, as_paths, file_digest, locked, writing
from omnial.model_folder.config_file import (
    CHECKPOINT_FILE,
    WEIGHTS_FILE,
    read_config,
    refusing,
)
from omnial.model_folder.validation_figures import ValidationFigures, in_words
from omnial.model_folder.weights_file import load_model, save_model
from omnial.models.efficientnet import pretrained_network
from omnial.models.system import InspectionNetwork
from omnial.models.trained_model import TrainedModel
from omnial.training.checkpoint import (
    RunIdentity,
    claim,
    read_checkpoint,
)
from omnial.training.data_remarks import (
    dim_classes,
    geometry_line,
    images_in_windows,
    images_per_class,
)
from omnial.training.devices import check_processes, choose_precision, on_gpu
from omnial.training.good_images import GoodImages
from omnial.training.log import RunLog
from omnial.training.loop import TrainState, run_loop
from omnial.training.sampler import BatchSampler
from omnial.training.schedule import Budget
from omnial.training.validation import validate
from omnial.untrusted import check_regular

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSummary:
    """Summary of a training run."""

    model: str
    classes: list[str]
    steps: int
    images: int
    seconds: float
    images_per_second: float
    precision: str
    validation: ValidationFigures
    suspicious: list[dict[str, Any]] = field(default_factory=list)
    """Training images that may not be good: `class`, `file` without folders, `score`."""
    notes: list[str] = field(default_factory=list)
    bad_files: list[str] = field(default_factory=list)
    test_images: int = 0
    """Test images that lie next to the training images: with none there is nothing to measure."""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def train(
    settings: Settings,
    roots: StrPath | Iterable[StrPath],
    out: StrPath,
    *,
    resume: bool = False,
    init: StrPath | None = None,
    progress: bool = True,
    command: Sequence[str] = (),
) -> TrainSummary:
    """Train one model, as `omnial.train` describes it; `command` would go on with it."""
    if not isinstance(settings, Settings):
        raise TypeError(f"settings is what load_settings returns, not {type(settings).__name__}")
    roots, out = as_paths(roots, "roots"), as_path(out, "out")
    init = None if init is None else as_path(init, "init")
    training = settings.training
    check_processes(training, read_processes())
    with (
        launched(gpu=on_gpu(training), strategy=training.strategy) as fabric,
        collectives.first_holds(lambda: locked(out)),
    ):
        cache = open_cache(settings.data)
        plan = collectives.first(lambda: _plan(settings, roots, out, resume, init, cache, command))
        if not fabric.is_global_zero:
            # The first process has decoded the files meanwhile.
            cache = open_cache(settings.data)
        run = collectives.everyone(lambda: _Run.load(settings, out, plan, cache))
        _logger.info("%s", geometry_line(settings.data, plan.good.learn, run.images))
        dim = dim_classes(settings.data, plan.good.learn, run.images)
        for note in dim:
            _logger.warning("%s", note)
        network = None
        if init is not None:
            network = collectives.everyone(lambda: _initial_network(settings, init))
        state, budget = TrainState.start(settings, fabric, network), Budget(training)
        # What the loop reads is in memory or in the cache, so a failing disk is this one.
        with writing("The state of the training", out):
            run.train(state, budget, fabric, progress)
        return collectives.first(lambda: run.finish(state, budget, dim))


class _Plan(NamedTuple):
    """What the first process decides before anything is loaded."""

    good: GoodImages
    textures: list[Path]
    run: RunIdentity


def _plan(
    settings: Settings,
    roots: Sequence[Path],
    out: Path,
    resume: bool,
    init: Path | None,
    cache: InputCache,
    command: Sequence[str],
) -> _Plan:
    """Check the files, split them, and decide which run this is."""
    if settings.model.normality == "own+pretrained":
        pretrained_network()  # what is missing is said now, not after the training
    start, before = None, frozenset[bytes]()
    if init is not None:
        before = read_config(init).trained_files
        with refusing(init, WEIGHTS_FILE):
            check_regular(init / WEIGHTS_FILE)
            start = file_digest(init / WEIGHTS_FILE)
    good = GoodImages.load(discover(roots, need="train"), settings, cache, before)
    if not good.held_out:
        raise UserError(
            "No image is left for validation, so no threshold could be set: give at least 5 "
            "different training images per class and a data.validation_share above 0."
        )
    textures = _texture_files(settings)
    precision, reason = choose_precision(settings.training)
    identity = (settings, good.catalogue, textures, start, precision, cache.content, command)
    run = claim(out, RunIdentity.of(*identity), resume)
    _logger.info("training in %s: %s", run.precision, reason)
    return _Plan(good, textures, run)


class _Run(NamedTuple):
    """A run in one of its processes, with what it holds in memory."""

    settings: Settings
    out: Path
    plan: _Plan
    cache: InputCache
    images: ImageDataset
    textures: ImageDataset | None

    @classmethod
    def load(cls, settings: Settings, out: Path, plan: _Plan, cache: InputCache) -> "_Run":
        """Load the training images and the texture collection."""
        images = load_dataset(plan.good.learn, plan.good.catalogue, settings.data, cache)
        textures, paths = None, plan.textures
        if paths:
            textures = ImageDataset(paths, [None] * len(paths), settings.data, cache)
        return cls(settings, out, plan, cache, images, textures)

    def train(self, state: TrainState, budget: Budget, fabric: Fabric, progress: bool) -> None:
        """Run the loop, from the last checkpoint where there is one."""
        settings = self.settings
        checkpoint = self.out / CHECKPOINT_FILE
        stored = _stored(checkpoint)
        if stored is not None:
            state.load_state_dict(stored)
            before = stored["budget"]["total_steps"] or "the end of its time"
            if budget.load_state_dict(stored["budget"], state.step):
                text = "another budget: a new schedule from the kept weights, from step %d to %s "
                total = budget.total_steps or "the end of the new time"
                _logger.info(text + "(before: to %s)", state.step, total, before)
        sampler = BatchSampler(
            *(self.images, self.plan.good.labels(self.plan.good.learn), self.textures, settings),
            *(fabric.global_rank, fabric.world_size),
            pinned=fabric.device.type == "cuda",
        )
        first, batch_size = fabric.is_global_zero, settings.training.batch_size
        log = RunLog(self.out, state.step, batch_size, first=first, progress=progress)
        with closing(log):
            precision = self.plan.run.precision
            run_loop(state, sampler, budget, settings, fabric, log, checkpoint, precision)

    def finish(self, state: TrainState, budget: Budget, notes: Sequence[str]) -> TrainSummary:
        """Set thresholds, and write the model folder."""
        settings, plan, good, network = self.settings, self.plan, self.plan.good, state.average
        names = good.catalogue.names
        if settings.model.normality == "own+pretrained":
            assert isinstance(network, InspectionNetwork)
            network.pretrained = pretrained_network().to(next(network.parameters()).device)
        held_out = load_dataset(good.held_out, good.catalogue, settings.data, self.cache)
        seen, new = good.labels(good.learn), good.labels(good.held_out)
        validated = validate(network, settings, names, self.images, seen, held_out, new)
        _logger.info("%s", _sentence(validated.figures))
        notes = [*notes, *validated.calibration.notes()]
        planned = budget.planned_steps or state.step
        if state.step < 0.8 * planned:
            notes.append(f"the machine slowed down: {state.step:,} steps in place of {planned:,}")
        images = state.step * settings.training.batch_size
        summary = TrainSummary(
            model=str(self.out),
            classes=list(names),
            steps=state.step,
            images=images,
            seconds=round(budget.seconds, 1),
            images_per_second=round(images / max(budget.seconds, 1e-9), 2),
            precision=plan.run.precision,
            validation=validated.figures,
            suspicious=[
                {"class": record.class_name, "file": record.path.name, "score": round(score, 4)}
                for record, score in ((good.learn[i], s) for i, s in validated.suspicious)
            ],
            notes=notes,
            bad_files=[f"{bad.path}: {bad.reason}" for bad in good.catalogue.bad_files],
            test_images=sum(len(product.test) for product in good.catalogue.classes),
        )
        facts = summary.to_dict()
        model = TrainedModel(
            settings=settings,
            classes=names,
            network=network,
            calibration=validated.calibration,
            recogniser=validated.recogniser,
            rois=class_regions(good.learn, good.catalogue, settings.data, self.images),
            normality=validated.normality,
            training={
                "version": __version__,
                "torch": torch.__version__,
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seed": settings.training.seed,
                **{key: facts[key] for key in ("steps", "images", "seconds", "precision")},
                "training_images": images_per_class(good.learn),
                "images_in_windows": images_in_windows(good.learn, self.images),
                "validation_images": images_per_class(good.held_out),
                "validation": facts["validation"],
                "suspicious": facts["suspicious"],
                "started_from": plan.run.start,
            },
            trained_files=good.trained_files,
        )
        save_model(self.out, model)
        return summary


def _stored(checkpoint: Path) -> dict[str, Any] | None:
    """The checkpoint that the first process sees, which all processes must see; None is none."""
    exists = collectives.first(checkpoint.exists)

    def read() -> dict[str, Any] | None:
        if exists and not checkpoint.exists():
            raise UserError(
                f"{checkpoint}: is there for the first process alone. The model folder must lie "
                "on a disk that all machines share."
            )
        return read_checkpoint(checkpoint) if exists else None

    return collectives.everyone(read)


def _texture_files(settings: Settings) -> list[Path]:
    """The texture collection; empty where the settings name none."""
    if settings.textures is None:
        return []
    folders = [settings.textures, *subfolders(settings.textures)]
    paths = [path for folder in folders for path in image_files(folder)]
    if not paths:
        raise UserError(f"{settings.textures}: no images there for `textures`")
    warn_of_left_out([settings.textures], paths)
    return paths


def _initial_network(settings: Settings, init: Path) -> nn.Module:
    """The network of another model folder, to go on from."""
    model = load_model(init, device="cpu")
    if model.settings.model != settings.model:
        raise UserError(
            f"{init}: its network differs from the one asked for (system "
            f"{model.settings.system}, size {model.settings.size}). Give the same --system, "
            "--size and model settings."
        )
    return model.network.train().requires_grad_(True)


def _sentence(figures: ValidationFigures) -> str:
    """The means over classes, and what they say about the reconstruction."""
    shown = [
        f"{name.replace('_', ' ')} {'-' if value is None else f'{value:.4g}'}"
        for name, value in figures.mean.items()
    ]
    words = in_words(figures.mean)
    return f"validation: {', '.join(shown)}" + ("" if words is None else f"; {words}")
