"""The training loop: Lightning's trainer, from the last checkpoint where there is one."""

import contextlib
import logging
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import nn

from omnial.config.settings import TrainingSettings
from omnial.data.dataset import ImageDataset
from omnial.distributed import collectives
from omnial.distributed.world import World
from omnial.errors import UserError
from omnial.memory import keep_freed_memory
from omnial.training.batch_norm import share_batch_norm
from omnial.training.budget import Budget
from omnial.training.callbacks import Bar, Checkpoint, EarlyView, Progress
from omnial.training.checkpoint_file import CheckpointFile, read_checkpoint
from omnial.training.feed import Feed
from omnial.training.interrupts import Interrupts
from omnial.training.launch import environment_of, trainer_options
from omnial.training.module import LOG_STEPS, TrainingModule
from omnial.training.precision import LIGHTNING_NAMES, Precision, on_gpu
from omnial.training.run_identity import CHECKPOINT, folder_of_checkpoints

_logger = logging.getLogger(__name__)


def run_loop(
    module: TrainingModule,
    budget: Budget,
    store: ImageDataset,
    labels: Sequence[int],
    textures: ImageDataset | None,
    out: Path,
    precision: Precision,
    progress: bool,
    world: World,
) -> None:
    """Train a module until its budget is spent.

    Of several processes, each must call this; the first one alone writes.

    Args:
        module: What is trained, in place.
        budget: Ends the run; afterwards it tells the steps and seconds.
        store: The training images.
        labels: Class number of each.
        textures: A texture collection, or None.
        out: The model folder, with its `checkpoints` and `logs`.
        precision: The run's precision.
        progress: Show a progress bar, or lines where there is no terminal.
        world: This process's place among those that share the run.

    Raises:
        UserError: A machine does not see the model folder of the first one.
        RunError: The loss or its gradient is no longer finite.
        KeyboardInterrupt: A signal stopped the run; its state is saved.
    """
    keep_freed_memory()
    settings, training = module.settings, module.settings.training
    folder = folder_of_checkpoints(out)
    checkpoint = folder / CHECKPOINT
    begin = _first_step(checkpoint)
    interrupts = Interrupts()
    progress = progress and world.rank == 0
    terminal = progress and sys.stderr is not None and sys.stderr.isatty()
    speed = Progress(budget, training.batch_size, lines=progress and not terminal)
    callbacks: list[Callback] = [
        budget,
        speed,
        EarlyView(),
        interrupts,
        Checkpoint(checkpoint, training.checkpoint_minutes),
    ]
    if terminal:
        callbacks.append(Bar(speed))
    if training.compile:
        _compile(module.network)
    if world.size > 1:
        share_batch_norm(module.network, on_gpu(training))
    loggers = collectives.first(lambda: _loggers(out, begin))
    trainer = _trainer(training, precision, callbacks, loggers, terminal, world)
    feed = Feed(
        store,
        labels,
        textures,
        settings.synthesis.texture_share,
        training.batch_size,
        training.seed,
        begin,
        world.rank,
        world.size,
        pinned=on_gpu(training),
    )
    with _without_hints():
        trainer.fit(
            module,
            feed,
            ckpt_path=str(checkpoint) if checkpoint.exists() else None,
            weights_only=True,
        )
    if trainer.interrupted or interrupts.stopped:
        raise KeyboardInterrupt


def _trainer(
    training: TrainingSettings,
    precision: Precision,
    callbacks: list[Callback],
    loggers: list[Logger],
    bar: bool,
    world: World,
) -> L.Trainer:
    """Lightning's trainer; the budget ends the run, so it has no limit of its own."""
    with _without_hints():
        return L.Trainer(
            **trainer_options(training, world),
            precision=LIGHTNING_NAMES[precision],
            max_steps=-1,
            max_epochs=-1,
            callbacks=callbacks,
            logger=loggers,
            plugins=[environment_of(world), CheckpointFile()],
            log_every_n_steps=LOG_STEPS,
            enable_progress_bar=bar,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )


@contextlib.contextmanager
def _without_hints() -> Iterator[None]:
    """Keep Lightning's remarks about devices and its services off the user's screen."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 itself calls what PyTorch 2.13 calls deprecated.
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
            yield
    finally:
        logger.setLevel(level)


def _first_step(checkpoint: Path) -> int:
    """The step to start from: that of the checkpoint, which all processes must see."""

    def saved() -> int:
        if not checkpoint.exists():
            return 0
        return int(read_checkpoint(checkpoint)["global_step"])

    begin = collectives.first(saved)

    def check() -> None:
        if begin and not checkpoint.exists():
            raise UserError(
                f"{checkpoint}: is there for the first process alone. The model folder must lie "
                "on a disk that all machines share."
            )

    collectives.everyone(check)
    return begin


def _loggers(out: Path, begin: int) -> list[Logger]:
    """CSV and TensorBoard; a resumed run writes beside, not over, what it continues."""
    version = f"from_step_{begin}"
    folder = out / "logs"
    shutil.rmtree(folder / "csv" / version, ignore_errors=True)
    return [
        CSVLogger(folder, name="csv", version=version),
        TensorBoardLogger(folder, name="tensorboard", version=version),
    ]


def _compile(network: nn.Module) -> None:
    """Compile where it can be done; on the CPU that needs a C++ compiler."""
    if not torch.cuda.is_available() and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        _logger.warning("training.compile is left out: no C++ compiler was found on this machine")
        return
    network.compile()
