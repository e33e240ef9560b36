"""How many steps a run takes: from steps, from images, or from a measured time budget."""

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from omnial.config.settings import TrainingSettings
from omnial.distributed import collectives
from omnial.training.module import TrainingModule
from omnial.training.schedule import PROBE

_DEFAULT_IMAGES = 200_000
_UNTIMED_STEPS = 5  # the first steps allocate memory and pick kernels
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

    After 20 steps the time of a step is known and the number of steps fixed; a resumed run reads
    it from the checkpoint. Where a run has steps on a quarter of the pixels, the last of the 20
    are not, so that both kinds are measured. Where the machine slows down later, the run may take
    20 % more than its time; if that is not enough, the schedule is shortened once to end there.

    Attributes:
        seconds: Time spent in training steps so far, earlier runs of it included.
        shortened_at: Step at which the schedule was shortened, or None.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._limit = None if settings.minutes is None else 60.0 * settings.minutes
        self.total_steps = planned_steps(settings)
        self.seconds = 0.0
        self.shortened_at: int | None = None
        self._marks: dict[int, float] = {}
        self._pace = 0.0
        self._mark = 0.0
        self._quarter_share = settings.quarter_share

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "total_steps": self.total_steps,
            "seconds": self.seconds,
            "shortened_at": self.shortened_at,
            "marks": self._marks,
            "pace": self._pace,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.total_steps = state_dict["total_steps"]
        self.seconds = state_dict["seconds"]
        self.shortened_at = state_dict["shortened_at"]
        self._marks = state_dict["marks"]
        self._pace = state_dict["pace"]

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
        # One clock decides, so that all processes take the same number of steps.
        self._take(trainer.global_step, collectives.from_first(now - self._mark))
        self._mark = now
        self._apply(trainer, pl_module)

    def _take(self, step: int, seconds: float) -> None:
        """Count a step's time; turn a time budget into steps, and shorten a slow run's."""
        self.seconds += seconds
        self._pace = seconds if step == 1 else 0.9 * self._pace + 0.1 * seconds
        if self._limit is None:
            return
        if step in (_UNTIMED_STEPS, PROBE.start, PROBE.start + 1):
            self._marks[step] = self.seconds
        if self.total_steps is None:
            if step == PROBE.stop:
                left = max(0.0, self._limit - self.seconds)
                self.total_steps = step + int(left / self._mean_pace())
            elif self.seconds >= self._limit:
                self.total_steps = step
        elif self.shortened_at is None and self.seconds >= self._limit:
            affordable = step + int((_SLACK * self._limit - self.seconds) / self._pace)
            if affordable < self.total_steps:
                self.total_steps = max(affordable, step)
                self.shortened_at = step

    def _mean_pace(self) -> float:
        """Seconds a step over the whole run, as measured in its first steps."""
        begin, quarter, whole = self._marks.values()
        if self._quarter_share == 0.0:
            return (self.seconds - begin) / (PROBE.stop - _UNTIMED_STEPS)
        # The first step of a size is not timed: it allocates memory.
        paces = (
            (quarter - begin) / (PROBE.start - _UNTIMED_STEPS),
            (self.seconds - whole) / (len(PROBE) - 1),
        )
        return self._quarter_share * paces[0] + (1.0 - self._quarter_share) * paces[1]

    def _apply(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        pl_module.total_steps = self.total_steps
        if self.total_steps is not None and trainer.global_step >= self.total_steps:
            trainer.should_stop = True
