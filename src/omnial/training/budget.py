"""How many steps a run takes: from steps, from images, or from a measured time budget."""

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from omnial.config.settings import TrainingSettings
from omnial.training.module import TrainingModule

_DEFAULT_IMAGES = 200_000
_UNTIMED_STEPS = 5  # the first steps allocate memory and pick kernels
_TIMED_STEPS = 15
_SLACK = 1.2  # a slower machine may take this much of the budget


def planned_steps(settings: TrainingSettings) -> int | None:
    """Steps of the run, or None where a time budget must be measured first."""
    if settings.minutes is not None:
        return None
    if settings.steps is not None:
        return settings.steps
    images = settings.images if settings.images is not None else _DEFAULT_IMAGES
    return math.ceil(images / settings.batch_size)


class Budget(Callback):
    """Ends the run after its steps, and turns a time budget into steps once.

    After some 20 steps the time of a step is measured and the number of steps fixed; a resumed
    run reads it from the checkpoint. Where the machine slows down later, the run may take 20 %
    more than its time; if that is not enough, the schedule is shortened once to end there.

    Attributes:
        seconds: Time spent in training steps so far, earlier runs of it included.
        shortened_at: Step at which the schedule was shortened, or None.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._limit = None if settings.minutes is None else 60.0 * settings.minutes
        self.total_steps = planned_steps(settings)
        self.seconds = 0.0
        self.shortened_at: int | None = None
        self._untimed: float | None = None
        self._mark = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "total_steps": self.total_steps,
            "seconds": self.seconds,
            "shortened_at": self.shortened_at,
            "untimed": self._untimed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.total_steps = state_dict["total_steps"]
        self.seconds = state_dict["seconds"]
        self.shortened_at = state_dict["shortened_at"]
        self._untimed = state_dict["untimed"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; end at once where a checkpoint has taken all steps already."""
        self._mark = time.monotonic()
        self._apply(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count time and steps."""
        now = time.monotonic()
        self.seconds += now - self._mark
        self._mark = now
        step = trainer.global_step
        if self._limit is not None:
            self._plan(step, self._limit)
        self._apply(trainer, pl_module)

    def _plan(self, step: int, limit: float) -> None:
        """Turn the time budget into steps, and shorten the schedule of a slow run."""
        if step == _UNTIMED_STEPS:
            self._untimed = self.seconds
        if self.total_steps is None:
            if step == _UNTIMED_STEPS + _TIMED_STEPS and self._untimed is not None:
                pace = (self.seconds - self._untimed) / _TIMED_STEPS
                self.total_steps = step + max(0, int((limit - self.seconds) / pace))
            elif self.seconds >= limit:
                self.total_steps = step
        elif self.shortened_at is None and self.seconds >= limit:
            affordable = step + int((_SLACK * limit - self.seconds) * step / self.seconds)
            if affordable < self.total_steps:
                self.total_steps = max(affordable, step)
                self.shortened_at = step

    def _apply(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        pl_module.total_steps = self.total_steps
        if self.total_steps is not None and trainer.global_step >= self.total_steps:
            trainer.should_stop = True
