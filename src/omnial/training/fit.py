"""Train one model on all classes, and write its folder."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omnial import __version__
from omnial.config.settings import Settings
from omnial.data.cache import InputCache, open_cache
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.data.listing import image_files, subfolders
from omnial.data.records import Catalogue, ImageRecord
from omnial.data.split import split_validation
from omnial.errors import UserError
from omnial.files import file_digest, writing
from omnial.models.config_file import JSON, WEIGHTS_FILE, class_names
from omnial.models.folder import TrainedModel, load_model, save_model
from omnial.training.budget import Budget
from omnial.training.feed import ImageStore, store_of
from omnial.training.loop import run_loop
from omnial.training.module import TrainingModule
from omnial.training.precision import choose_precision
from omnial.training.run import RunIdentity, only_run_in, settle
from omnial.training.validation import validate
from omnial.untrusted import UntrustedError, check_regular

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
    validation: dict[str, float | None]
    notes: list[str] = field(default_factory=list)
    bad_files: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def train(
    settings: Settings,
    roots: Sequence[Path],
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    progress: bool = True,
) -> TrainSummary:
    """Train one model on the defect-free images of all classes.

    Args:
        settings: The run.
        roots: Data folders, see `omnial.data.layouts.discover`.
        out: The model folder. Training state goes to its `checkpoints`, logs to its `logs`.
        resume: Go on with the run that `out` holds, if it holds one.
        init: A model folder whose weights to start from; its products need not be the same.
        progress: Show a progress bar, or lines where there is no terminal.

    Returns:
        A summary.

    Raises:
        UserError: Bad data, a folder in use, settings that differ from those of the run that
            is resumed, or weights that do not fit.
        RunError: The loss is no longer finite, or the disk cannot be written.
    """
    with only_run_in(out):
        return _train(settings, roots, out, resume, init, progress)


def _train(
    settings: Settings,
    roots: Sequence[Path],
    out: Path,
    resume: bool,
    init: Path | None,
    progress: bool,
) -> TrainSummary:
    """Train in a folder that no other run uses."""
    cache = open_cache(settings.data)
    catalogue = check_files(discover(roots, need="train"), settings.data, cache=cache)
    _check_names(catalogue)
    records = [record for product in catalogue.classes for record in product.train]
    learn, kept = split_validation(records, settings.data, settings.training.seed)
    if not kept:
        raise UserError(
            "No image is left for validation, so no threshold could be set: give at least 5 "
            "training images per class and a data.validation_share above 0."
        )
    precision, reason = choose_precision(settings.training)
    start = None if init is None else _digest(init / WEIGHTS_FILE)
    wanted = RunIdentity.of(settings, catalogue, records, start, precision)
    run = settle(out, wanted, resume)
    _logger.info("training in %s: %s", run.precision, reason)

    names = catalogue.names
    store = store_of(learn, catalogue, settings.data, cache)
    labels = [names.index(record.class_name) for record in learn]
    network = None if init is None else _initial_network(settings, init)
    module = TrainingModule(settings, network)
    budget = Budget(settings.training)
    textures = _textures(settings, cache)
    # What the loop reads is in memory or in the cache, so a failing disk is this one.
    with writing("The state of the training", out):
        run_loop(module, budget, store, labels, textures, out, run.precision, progress)

    network = module.averaged_network()
    validated = validate(
        network,
        settings,
        names,
        store,
        labels,
        store_of(kept, catalogue, settings.data, cache),
        [names.index(record.class_name) for record in kept],
    )
    steps = budget.total_steps or 0
    notes = list(validated.calibration.notes())
    if budget.shortened_at is not None:
        notes.append(
            f"the machine slowed down: the schedule was shortened at step {budget.shortened_at}"
        )
    summary = TrainSummary(
        model=str(out),
        classes=list(names),
        steps=steps,
        images=steps * settings.training.batch_size,
        seconds=round(budget.seconds, 1),
        images_per_second=round(
            steps * settings.training.batch_size / max(budget.seconds, 1e-9), 2
        ),
        precision=run.precision,
        validation=dict(validated.figures),
        notes=notes,
        bad_files=[f"{bad.path}: {bad.reason}" for bad in catalogue.bad_files],
    )
    model = TrainedModel(
        settings=settings,
        classes=names,
        network=network,
        calibration=validated.calibration,
        recogniser=validated.recogniser,
        rois=_regions(learn, store, catalogue),
        training=_facts(summary, settings, learn, kept, start),
    )
    save_model(out, model)
    return summary


def _check_names(catalogue: Catalogue) -> None:
    """Refuse now what no model folder may hold, not after the training."""
    try:
        class_names(list(catalogue.names))
    except ValueError as error:
        raise UserError(f"{error}. Rename that class in the data.") from error


def _textures(settings: Settings, cache: InputCache) -> ImageStore | None:
    """The texture collection at network size."""
    if settings.textures is None:
        return None
    folders = [settings.textures, *subfolders(settings.textures)]
    paths = [path for folder in folders for path in image_files(folder)]
    if not paths:
        raise UserError(f"{settings.textures}: no images there for `textures`")
    return ImageStore(paths, [None] * len(paths), settings.data, cache)


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
    learn: Sequence[ImageRecord], store: ImageStore, catalogue: Catalogue
) -> dict[str, Any]:
    """The region of interest of each class that has one, at network size."""
    having = {product.name for product in catalogue.classes if product.roi is not None}
    first = {record.class_name: index for index, record in reversed(list(enumerate(learn)))}
    return {name: store.regions([first[name]])[0, 0].numpy() for name in sorted(having)}


def _facts(
    summary: TrainSummary,
    settings: Settings,
    learn: Sequence[ImageRecord],
    kept: Sequence[ImageRecord],
    start: str | None,
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
        "training_images": _per_class(learn),
        "validation_images": _per_class(kept),
        "validation": dict(summary.validation),
        "started_from": start,
    }


def _per_class(records: Sequence[ImageRecord]) -> dict[str, JSON]:
    return dict(Counter(record.class_name for record in records))


def _digest(path: Path) -> str:
    try:
        check_regular(path)
        return file_digest(path)
    except (OSError, UntrustedError) as error:
        raise UserError(f"{path}: cannot be read ({error}); is it a model folder?") from error
