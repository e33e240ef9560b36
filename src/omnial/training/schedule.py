"""How many steps a run takes, and the learning rate and image size of each."""

import math
from typing import Any, Final

from omnial.config.settings import TrainingSettings
from omnial.errors import UserError

_DEFAULT_IMAGES: Final = 200_000
_UNTIMED_STEPS: Final = 5  # the first steps allocate memory and pick kernels
_PROBE: Final = range(15, 20)
"""Steps of a measured run that see whole images, to learn what such a step costs."""
MEASURED_STEPS: Final = _PROBE.stop
"""Steps after which the time of a step is known."""
_SLACK: Final = 1.2  # a slower machine may take this much of the budget
_DROP_AT, _DROP = (0.8, 0.9), 0.2
_KEPT: Final = ("total_steps", "seconds", "shortened_at", "_marks", "_pace", "_asked")


def planned_steps(settings: TrainingSettings) -> int | None:
    """Steps of the run, or None where a time budget must be measured first."""
    if settings.minutes is not None:
        return None
    return settings.steps or math.ceil((settings.images or _DEFAULT_IMAGES) / settings.batch_size)


class Budget:
    """The length of a run; a time budget becomes a number of steps once.

    After 20 steps the time of a step is known and the number of steps fixed; a resumed run reads
    it from the checkpoint. Where a run has steps on a quarter of the pixels, the last of the 20
    are not, so that both kinds are measured. Where the machine slows down later, the run may take
    20 % more than its time; if that is not enough, the schedule is shortened once to end there.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._limit = None if settings.minutes is None else 60.0 * settings.minutes
        self._quarter_share = settings.quarter_share
        self.total_steps = planned_steps(settings)
        self._asked = (settings.minutes, self.total_steps)
        """Steps of the whole run; None while a time budget is not measured yet."""
        self.seconds = 0.0  # spent in training steps, earlier runs of it included
        self.shortened_at: int | None = None
        self._marks: dict[int, float] = {}
        self._pace = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in _KEPT}

    def load_state_dict(self, state: dict[str, Any], step: int) -> bool:
        """Go on from a checkpoint after so many steps; whether its run had another budget.

        The schedule is then that of the new budget, from this step on; a `UserError` says that the
        new one is spent.
        """
        asked = self._asked
        for name in _KEPT:
            setattr(self, name, state.get(name, getattr(self, name)))
        if self._asked == asked:
            return False
        self._asked, self.shortened_at = asked, None
        if self._limit is None:
            self.total_steps = asked[1]
        elif self.total_steps is not None:
            self.total_steps = step + int((self._limit - self.seconds) / (self.seconds / step))
        if self.is_spent(step):
            raise UserError(
                f"the run has taken {step:,} steps in {self.seconds / 60.0:.3g} minutes, which is "
                "the new budget or more. Give a larger one"
            )
        return True

    def seconds_left(self, step: int) -> float | None:
        """Estimate of the time that the rest of the run takes; None until steps are measured."""
        if self._limit is not None and self.seconds < self._limit:
            return self._limit - self.seconds
        if self.total_steps is None or step < MEASURED_STEPS:
            return None
        # Steps on a quarter of the pixels come first, and take about a quarter of the time.
        reduced = max(0, math.ceil(self._quarter_share * self.total_steps) - step)
        whole = self.total_steps - step - reduced
        return self._pace * (reduced + 4 * whole if reduced else whole)

    def is_spent(self, step: int) -> bool:
        """Whether the run ends after so many steps."""
        return self.total_steps is not None and step >= self.total_steps

    def count(self, step: int, seconds: float) -> None:
        """Count the time of the step that makes it `step` steps."""
        self.seconds += seconds
        first = step <= _UNTIMED_STEPS + 1
        self._pace = seconds if first else 0.9 * self._pace + 0.1 * seconds
        if self._limit is None:
            return
        if step in (_UNTIMED_STEPS, _PROBE.start, _PROBE.start + 1):
            self._marks[step] = self.seconds
        if self.total_steps is None:
            if step == MEASURED_STEPS:
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
        begin, reduced, whole = self._marks.values()
        if self._quarter_share == 0.0:
            return (self.seconds - begin) / (_PROBE.stop - _UNTIMED_STEPS)
        # The first step of a size is not timed: it allocates memory.
        reduced_pace = (reduced - begin) / (_PROBE.start - _UNTIMED_STEPS)
        whole_pace = (self.seconds - whole) / (len(_PROBE) - 1)
        return self._quarter_share * reduced_pace + (1.0 - self._quarter_share) * whole_pace


def is_reduced(step: int, total: int | None, settings: TrainingSettings) -> bool:
    """Whether a step, from 0, trains on a quarter of the pixels: the first of `total` do."""
    probing = settings.minutes is not None and step in _PROBE
    if settings.quarter_share == 0.0 or probing:
        return False
    return total is None or step < settings.quarter_share * total


def learning_rate(step: int, total: int | None, settings: TrainingSettings) -> float:
    """The rate of one step, from 0, of `total`, which is None while that is not known yet.

    It rises linearly over the warm-up, then is multiplied by 0.2 at 80 % and 90 % (`step`), or
    follows half a cosine to zero (`cosine`).
    """
    peak = settings.learning_rate
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    if total is None:
        return peak
    if settings.schedule == "step":
        return peak * _DROP ** sum(step >= share * total for share in _DROP_AT)
    done = (step - settings.warmup_steps) / max(total - settings.warmup_steps, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
