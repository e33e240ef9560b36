"""Learning rate and size of the images as functions of the step."""

import math

from omnial.config.settings import TrainingSettings

_DROP_AT = (0.8, 0.9)
_DROP = 0.2

PROBE = range(15, 20)
"""Steps of a measured run that see whole images, to learn what such a step costs."""


def is_quarter(step: int, total: int | None, settings: TrainingSettings) -> bool:
    """Whether a step trains on a quarter of the pixels.

    Args:
        step: Number of the step, from 0.
        total: Steps of the whole run; None while a time budget has not been measured yet.
        settings: The share of such steps, which come first.
    """
    if settings.quarter_share == 0.0:
        return False
    if settings.minutes is not None and step in PROBE:
        return False
    return total is None or step < settings.quarter_share * total


def learning_rate(step: int, total: int | None, settings: TrainingSettings) -> float:
    """The rate of one step.

    Args:
        step: Number of the step, from 0.
        total: Steps of the whole run; None while a time budget has not been measured yet.
        settings: Peak rate, kind of schedule and steps of linear warm-up.

    Returns:
        The rate: rising linearly over the warm-up, then times 0.2 at 80 % and 90 % (`step`) or
        following half a cosine to zero (`cosine`).
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
