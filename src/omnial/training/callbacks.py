"""What happens around the steps: checkpoints, progress, early views of samples."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from omnial.distributed import collectives
from omnial.models.scoring import score_map
from omnial.training.budget import Budget
from omnial.training.module import LOG_STEPS, TrainingModule

_logger = logging.getLogger(__name__)

_VIEW_STEPS = (1, 50)  # views before the first checkpoint
_VIEW_SAMPLES = 4
_LINE_SECONDS = 30.0
_CHECK_STEPS = 20


class Checkpoint(Callback):
    """Writes `last.ckpt`: now and then, at the end, and when the run is interrupted.

    `CheckpointFile` writes it in full before it takes its name, so a kill leaves the one before.
    A state whose loss or gradient is not finite is never written.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self._path = path
        self._seconds = 60.0 * minutes
        self._saved = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._saved = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save where it is time; look at the loss a little more often."""
        assert isinstance(pl_module, TrainingModule)
        # Every process must come to the same decision, since all take part in saving.
        due = collectives.from_first(time.monotonic() - self._saved) >= self._seconds
        if due or trainer.should_stop or trainer.global_step % _CHECK_STEPS == 0:
            pl_module.refuse_non_finite()
        if due or trainer.should_stop:
            self._save(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Keep the work of an interrupted run, if no other process must take part in that."""
        assert isinstance(pl_module, TrainingModule)
        alone = isinstance(exception, KeyboardInterrupt) and not collectives.together()
        if alone and trainer.global_step > 0 and pl_module.is_finite():
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self._path, weights_only=False)
        self._saved = time.monotonic()


class Progress(Callback):
    """Measures images per second, and writes a line now and then where there is no terminal.

    Attributes:
        speed: Images per second since the last line.
    """

    def __init__(self, budget: Budget, images_per_step: int, lines: bool) -> None:
        self._budget, self._images, self._lines = budget, images_per_step, lines
        self.speed = 0.0
        self._time, self._step = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._time, self._step = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Report the speed since the last line."""
        seconds = time.monotonic() - self._time
        steps = trainer.global_step - self._step
        self.speed = steps * self._images / max(seconds, 1e-9)
        if trainer.global_step % LOG_STEPS == 0:
            # Elsewhere it would be thrown away, after an upload that waits for a GPU.
            pl_module.log("images/s", self.speed, batch_size=1)
        if seconds < _LINE_SECONDS:
            return
        self._time, self._step = time.monotonic(), trainer.global_step
        if self._lines:
            total = "?" if self._budget.total_steps is None else self._budget.total_steps
            loss = float(trainer.callback_metrics["loss"])
            _logger.info(
                "step %d of %s, loss %.3f, %.1f images/s",
                trainer.global_step,
                total,
                loss,
                self.speed,
            )


class Bar(TQDMProgressBar):
    """Lightning's progress bar, which asks for the losses only when it is drawn anew.

    Values logged for Lightning's own are read off the device at every step.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__(refresh_rate=LOG_STEPS)
        self._progress = progress

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The losses of the last step, the last logged figures, and the speed."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if math.isnan(values.get("erased", 0.0)):
            del values["erased"]  # no sample of that step had a defect
        return {**values, "images/s": round(self._progress.speed, 1)}


class EarlyView(Callback):
    """Puts samples, reconstructions and score maps into TensorBoard while the run is young."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Draw at a few early steps, then each time the step has doubled."""
        step = trainer.global_step
        doubled = step >= 100 and step & (step - 1) == 0
        if not trainer.is_global_zero or not (step in _VIEW_STEPS or doubled):
            return
        assert isinstance(pl_module, TrainingModule)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", self._picture(pl_module, batch), step)

    def _picture(self, module: TrainingModule, batch: Any) -> Tensor:
        """(3, rows, columns): normal, anomalous, reconstruction, mask, score map."""
        sample = module.synthesize(batch)
        anomalous = sample.anomalous[:_VIEW_SAMPLES]
        # The average, in eval mode, so that looking changes no state of the run.
        network = module.averaged_network().eval()
        with torch.no_grad():
            output = network(anomalous)
        columns = (
            sample.normal[:_VIEW_SAMPLES],
            anomalous,
            output.reconstruction.clamp(0.0, 1.0),
            sample.mask[:_VIEW_SAMPLES].expand(-1, 3, -1, -1),
            score_map(output.logits)[:, None].expand(-1, 3, -1, -1),
        )
        return torch.cat([torch.cat(list(column), 1) for column in columns], 2).cpu()
