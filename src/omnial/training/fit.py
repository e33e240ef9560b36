"""Train one model on all classes, and write its folder."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from omnial._version import __version__
from omnial.config.settings import DataSettings, Settings
from omnial.data.cache import InputCache, open_cache
from omnial.data.checks import check_files
from omnial.data.dataset import ImageDataset, load_dataset
from omnial.data.geometry import whole_region
from omnial.data.layouts import discover
from omnial.data.left_out import warn_of_left_out
from omnial.data.listing import image_files, subfolders
from omnial.data.records import Catalogue, ImageRecord
from omnial.data.split import split_validation
from omnial.distributed import collectives
from omnial.distributed.world import read_world
from omnial.errors import UserError
from omnial.files import StrPath, as_path, as_paths, file_digest, locked, writing
from omnial.model_folder.config_file import (
    MOST_FILES,
    WEIGHTS_FILE,
    class_names,
    read_config,
    short_digest,
)
from omnial.model_folder.validation_figures import ValidationFigures, in_words
from omnial.model_folder.weights_file import load_model, save_model
from omnial.models.trained_model import TrainedModel
from omnial.training.budget import Budget
from omnial.training.data_remarks import (
    dim_classes,
    geometry_line,
    images_in_windows,
    images_per_class,
)
from omnial.training.launch import check_launch
from omnial.training.loop import run_loop
from omnial.training.module import TrainingModule
from omnial.training.precision import choose_precision, on_gpu
from omnial.training.run_identity import RunIdentity, settle
from omnial.training.validation import validate
from omnial.untrusted import JSON, UntrustedError, check_regular

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSummary:
    """What a training run came to."""

    model: str
    classes: list[str]
    steps: int
    images: int
    seconds: float
    images_per_second: float
    precision: str
    validation: ValidationFigures
    notes: list[str] = field(default_factory=list)
    bad_files: list[str] = field(default_factory=list)

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
) -> TrainSummary:
    """Train one model on the defect-free images of all classes.

    Where a launcher started several processes, all of them must call this: they share each batch,
    and the first one alone writes.

    Args:
        settings: The run.
        roots: A data folder or several, see `omnial.data.layouts.discover`.
        out: The model folder. Training state goes to its `checkpoints`, logs to its `logs`.
        resume: Go on with the run that `out` holds, if it holds one.
        init: A model folder whose weights to start from; its products need not be the same.
        progress: Show a progress bar, or lines where there is no terminal.

    Returns:
        A summary.

    Raises:
        UserError: Bad data, a folder in use, settings that differ from those of the run that
            is resumed, weights that do not fit, or processes that cannot share the run.
        RunError: The loss or its gradient is no longer finite, the disk cannot be written, or
            another process has ended.
        KeyboardInterrupt: A signal stopped the run; `resume` goes on with it.
        TypeError: An argument is of another kind.
    """
    if not isinstance(settings, Settings):
        raise TypeError(f"settings is what load_settings returns, not {type(settings).__name__}")
    roots, out = as_paths(roots, "roots"), as_path(out, "out")
    init = None if init is None else as_path(init, "init")
    world = read_world()
    check_launch(settings.training, world)
    with (
        collectives.joined(world, on_gpu(settings.training)),
        collectives.first_holds(lambda: locked(out)),
    ):
        cache = open_cache(settings.data)
        plan = collectives.first(lambda: _plan(settings, roots, out, resume, init, cache))
        if world.rank:
            # The first process has decoded the files meanwhile.
            cache = open_cache(settings.data)
        _logger.info("training in %s: %s", plan.run.precision, plan.reason)
        loaded = collectives.everyone(lambda: _load(settings, plan, init, cache))
        _logger.info("%s", geometry_line(settings.data, plan.learn, loaded.store))
        dim = dim_classes(settings.data, plan.learn, loaded.store)
        for note in dim:
            _logger.warning("%s", note)
        module = TrainingModule(settings, loaded.network)
        budget = Budget(settings.training)
        # What the loop reads is in memory or in the cache, so a failing disk is this one.
        with writing("The state of the training", out):
            run_loop(
                *(module, budget, loaded.store, loaded.labels, loaded.textures),
                *(out, plan.run.precision, progress, world),
            )
        return collectives.first(
            lambda: _finish(settings, plan, loaded, module, budget, out, cache, dim)
        )


class _Plan(NamedTuple):
    """What the first process decides before anything is loaded."""

    catalogue: Catalogue
    learn: list[ImageRecord]
    kept: list[ImageRecord]
    trained_files: frozenset[bytes]
    """Of the files that are learned from, here or in the model to start from."""
    run: RunIdentity
    reason: str
    """Why the precision is what it is."""


class _Loaded(NamedTuple):
    """What every process holds in memory."""

    store: ImageDataset
    labels: list[int]
    textures: ImageDataset | None
    network: nn.Module | None


def _plan(
    settings: Settings,
    roots: Sequence[Path],
    out: Path,
    resume: bool,
    init: Path | None,
    cache: InputCache,
) -> _Plan:
    """Check the files, split them, and settle which run this is."""
    catalogue = check_files(discover(roots, need="train"), settings.data, cache=cache)
    counts = [f"{product.name} ({len(product.train)} images)" for product in catalogue.classes]
    _logger.info("learnt as good: %s", ", ".join(counts))
    records = [record for product in catalogue.classes for record in product.train]
    _check_names(catalogue)
    start = None if init is None else _digest(init / WEIGHTS_FILE)
    earlier = frozenset[bytes]() if init is None else read_config(init).trained_files
    learn, held_out = split_validation(records, settings.data, settings.training.seed)
    digests = {record: short_digest(cache.content(record.path)) for record in records}
    own = frozenset(digests[record] for record in learn)
    trained = own | earlier
    if len(trained) > MOST_FILES:
        raise UserError(f"{len(trained):,} training images: a model keeps {MOST_FILES:,} apart.")
    # A copy of a trained image is no new one, nor one that the weights to start from know.
    kept = [record for record in held_out if digests[record] not in trained]
    if len(kept) < len(held_out):
        _logger.warning(
            "%d of the %d images held out for validation are copies of trained ones: they set no "
            "thresholds",
            *(len(held_out) - len(kept), len(held_out)),
        )
    if not kept:
        raise UserError(
            "No image is left for validation, so no threshold could be set: give at least 5 "
            "different training images per class and a data.validation_share above 0."
        )
    precision, reason = choose_precision(settings.training)
    wanted = RunIdentity.of(
        *(settings, catalogue, _texture_files(settings), start, precision), content=cache.content
    )
    return _Plan(catalogue, learn, kept, trained, settle(out, wanted, resume), reason)


def _load(settings: Settings, plan: _Plan, init: Path | None, cache: InputCache) -> _Loaded:
    """Images, textures, and the network to start from."""
    names = plan.catalogue.names
    return _Loaded(
        load_dataset(plan.learn, plan.catalogue, settings.data, cache),
        [names.index(record.class_name) for record in plan.learn],
        _textures(settings, cache),
        None if init is None else _initial_network(settings, init),
    )


def _finish(
    settings: Settings,
    plan: _Plan,
    loaded: _Loaded,
    module: TrainingModule,
    budget: Budget,
    out: Path,
    cache: InputCache,
    notes: Sequence[str],
) -> TrainSummary:
    """Set thresholds, and write the model folder."""
    names = plan.catalogue.names
    network = module.averaged_network()
    validated = validate(
        network,
        settings,
        names,
        loaded.store,
        loaded.labels,
        load_dataset(plan.kept, plan.catalogue, settings.data, cache),
        [names.index(record.class_name) for record in plan.kept],
    )
    _logger.info("%s", _said(validated.figures))
    steps = budget.total_steps or 0
    notes = [*notes, *validated.calibration.notes()]
    if budget.shortened_at is not None:
        notes.append(
            f"the machine slowed down: the schedule was shortened at step {budget.shortened_at}"
        )
    images = steps * settings.training.batch_size
    summary = TrainSummary(
        model=str(out),
        classes=list(names),
        steps=steps,
        images=images,
        seconds=round(budget.seconds, 1),
        images_per_second=round(images / max(budget.seconds, 1e-9), 2),
        precision=plan.run.precision,
        validation=validated.figures,
        notes=notes,
        bad_files=[f"{bad.path}: {bad.reason}" for bad in plan.catalogue.bad_files],
    )
    model = TrainedModel(
        settings=settings,
        classes=names,
        network=network,
        calibration=validated.calibration,
        recogniser=validated.recogniser,
        rois=_regions(plan.learn, loaded.store, plan.catalogue, settings.data),
        training=_facts(summary, settings, plan, loaded.store),
        trained_files=plan.trained_files,
    )
    save_model(out, model)
    return summary


def _check_names(catalogue: Catalogue) -> None:
    """Refuse now what no model folder may hold, not after the training."""
    try:
        class_names(list(catalogue.names))
    except ValueError as error:
        raise UserError(f"{error}. Rename that class in the data.") from error


def _texture_files(settings: Settings) -> list[Path]:
    """The texture collection; empty where the settings name none."""
    if settings.textures is None:
        return []
    folders = [settings.textures, *subfolders(settings.textures)]
    paths = [path for folder in folders for path in image_files(folder)]
    if not paths:
        raise UserError(f"{settings.textures}: no images there for `textures`")
    return paths


def _textures(settings: Settings, cache: InputCache) -> ImageDataset | None:
    """The same at network size."""
    if settings.textures is None:
        return None
    paths = _texture_files(settings)
    warn_of_left_out([settings.textures], paths)
    return ImageDataset(paths, [None] * len(paths), settings.data, cache)


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


def _regions(
    learn: Sequence[ImageRecord], store: ImageDataset, catalogue: Catalogue, settings: DataSettings
) -> dict[str, Any]:
    """The region of interest of each class that has one, at network size."""
    having = {product.name for product in catalogue.classes if product.roi is not None}
    first = {record.class_name: index for index, record in reversed(list(enumerate(learn)))}
    return {
        name: whole_region(store.regions([first[name]])[0, 0].numpy(), settings)
        for name in sorted(having)
    }


def _facts(
    summary: TrainSummary, settings: Settings, plan: _Plan, store: ImageDataset
) -> dict[str, JSON]:
    """What the model folder says about its training."""
    return {
        "version": __version__,
        "torch": torch.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": settings.training.seed,
        "steps": summary.steps,
        "images": summary.images,
        "seconds": summary.seconds,
        "precision": summary.precision,
        "training_images": images_per_class(plan.learn),
        "images_in_windows": images_in_windows(plan.learn, store),
        "validation_images": images_per_class(plan.kept),
        "validation": asdict(summary.validation),
        "started_from": plan.run.start,
    }


def _said(figures: ValidationFigures) -> str:
    """The means over classes, and what they say about the reconstruction."""
    shown = {
        name.replace("_", " "): "-" if value is None else f"{value:.4g}"
        for name, value in figures.mean.items()
    }
    line = "validation: " + ", ".join(f"{name} {value}" for name, value in shown.items())
    words = in_words(figures.mean)
    return line if words is None else f"{line}; {words}"


def _digest(path: Path) -> str:
    try:
        check_regular(path)
        return file_digest(path)
    except (OSError, UntrustedError) as error:
        raise UserError(f"{path}: cannot be read ({error}); is it a model folder?") from error
