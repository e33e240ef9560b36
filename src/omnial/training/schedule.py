"""How many steps a run takes, and the learning rate and image size of each."""

import math
from typing import Any, Final, Literal, TypeAlias

from omnial.config.settings import TrainingSettings
from omnial.errors import UserError

Pixels: TypeAlias = Literal["whole", "half", "mixed"]
"""What a step sees: whole images; all of them at half the resolution; or some so and crops of the
others. The latter two have a quarter of the pixels."""

_DEFAULT_IMAGES: Final = 200_000
_UNTIMED_STEPS: Final = 5  # the first steps allocate memory and pick kernels
_PROBE: Final = range(15, 20)
"""Steps of a measured run that see whole images, to learn what such a step costs."""
MEASURED_STEPS: Final = _PROBE.stop
"""Steps after which the time of a step is known."""
_FOLLOW: Final = 0.03
"""Share by which the pace follows a step: one that waits for the machine hardly counts."""
_ENOUGH: Final = 4
_DROP_AT, _DROP = (0.8, 0.9), 0.2
_KEPT: Final = (
    "total_steps",
    "planned_steps",
    "seconds",
    "_reduced",
    "_whole",
    "_asked",
)


def planned_steps(settings: TrainingSettings) -> int | None:
    """Steps of the run, or None where a time budget must be measured first."""
    if settings.minutes is not None:
        return None
    return settings.steps or math.ceil((settings.images or _DEFAULT_IMAGES) / settings.batch_size)


class Budget:
    """The length of a run; a time budget is a number of steps that follows the machine's pace.

    After 20 steps the time of a step is known. Where a run begins with steps on a quarter of the
    pixels, the last of the 20 are not, so that both kinds are measured. From there on the number of
    steps is that which the time left is enough for: on a machine that slows down the schedule
    shrinks as a whole, its steps on whole images and at a low rate with it, and ends in time.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._limit = None if settings.minutes is None else 60.0 * settings.minutes
        self._settings = settings
        self.total_steps = planned_steps(settings)
        """Steps of the whole run; None while a time budget is not measured yet."""
        self.planned_steps = self.total_steps
        """What it was at first."""
        self._asked = (settings.minutes, self.total_steps)
        self.seconds = 0.0  # spent in training steps, earlier runs of it included
        self._reduced = (0, 0.0)  # steps on a quarter of the pixels, and the seconds of one
        self._whole = (0, 0.0)  # and those on whole images

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
        self._asked = asked
        if self._limit is None:
            self.total_steps = asked[1]
        elif self.total_steps is not None:
            self.total_steps = step + int((self._limit - self.seconds) / (self.seconds / step))
        self.planned_steps = self.total_steps
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
        first = max(math.ceil(self._settings.quarter_share * self.total_steps) - step, 0)
        reduced, last = self._paces()
        return first * reduced + (self.total_steps - step - first) * last

    def is_spent(self, step: int) -> bool:
        """Whether the run ends after so many steps."""
        return self.total_steps is not None and step >= self.total_steps

    def count(self, step: int, seconds: float) -> None:
        """Count the time of the step that makes it `step` steps."""
        self.seconds += seconds
        if step > _UNTIMED_STEPS and step - 1 != _PROBE.start:  # the first of its size, as well
            if pixels_of(step - 1, self.total_steps, self._settings) != "whole":
                before, self._reduced = self._reduced, _follow(*self._reduced, seconds)
                if before[0]:  # a machine that slows down does so for both
                    self._whole = self._whole[0], self._whole[1] * self._reduced[1] / before[1]
            else:
                self._whole = _follow(*self._whole, seconds)
        if self._limit is None:
            return
        left = self._limit - self.seconds
        if left <= 0.0:
            self.total_steps = min(step, self.total_steps or step)
        elif step >= MEASURED_STEPS:
            self.total_steps = self._affordable(step, left)
            self.planned_steps = self.planned_steps or self.total_steps

    def _paces(self) -> tuple[float, float]:
        """Seconds of a step on a quarter of the pixels, and of one of the last, in the mean."""
        (quarters, reduced), (count, whole) = self._reduced, self._whole
        if quarters == 0:
            reduced = whole / 4.0
        elif count < _ENOUGH:
            whole = 4.0 * reduced
        half = self._settings.half_share
        return reduced, half * reduced + (1.0 - half) * whole

    def _affordable(self, step: int, left: float) -> int:
        """Steps of the whole run that ends after so many more seconds."""
        share = self._settings.quarter_share
        reduced, last = self._paces()
        total = (left + step * reduced) / (share * reduced + (1.0 - share) * last)
        return int(total) if step < share * total else step + int(left / last)


def _follow(count: int, pace: float, seconds: float) -> tuple[int, float]:
    """The mean of the first steps, then a moving one that no single step doubles."""
    count += 1
    return count, pace + max(_FOLLOW, 1.0 / count) * min(seconds - pace, pace or seconds)


def pixels_of(step: int, total: int | None, settings: TrainingSettings) -> Pixels:
    """What a step, from 0, of `total` sees, which is None while that is not known yet."""
    share, half = settings.quarter_share, settings.half_share
    if settings.minutes is not None and step in _PROBE:
        return "whole"
    if share > 0.0 and (total is None or step < share * total):
        return "mixed"
    if total is not None and int((step + 1) * half) > int(step * half):
        return "half"
    return "whole"


def adversarial_epsilon(step: int, total: int | None, settings: TrainingSettings) -> float:
    """Radius of the perturbation of one step, from 0, of `total`, in units of the pixels' range.

    It grows over the first half: a network that has learnt nothing yet learns little from attacks.
    """
    grown = 0.0 if total is None else min(2.0 * step / total, 1.0)
    return grown * settings.adversarial_epsilon / 255.0


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
