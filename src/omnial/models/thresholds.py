"""Thresholds from the scores of normal validation images: the one place that decides.

The threshold is the split-conformal quantile: with n exchangeable normal scores, a new normal
image lies above the ceil((n + 1) q)-th smallest with probability at most 1 - q (Vovk et al.,
"Algorithmic Learning in a Random World", 2005). With too few images for q there is no such
score; the class then takes the threshold of all classes together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field, model_validator

from omnial.errors import UserError

_ROUNDING = 1e-9
"""Slack of (n + 1) q, so that 1 - 0.07 over 99 images asks for rank 93, not 94."""
SLACK: Final = 1e-4
"""How far above its threshold a score must lie to be anomalous. [O] A threshold is the score of
a normal image; the same image again, in another batch or engine, differs by the rounding of
float32, up to 3e-5 as measured (docs/results/inference.md), and must not become anomalous by it."""


def rank(n: int, q: float) -> int | None:
    """The 1-based rank ceil((n + 1) q) of the threshold among n scores; None if above n."""
    if not 0.0 < q < 1.0:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    wanted = max(1, math.ceil((n + 1) * q - _ROUNDING))
    return wanted if wanted <= n else None


def threshold(scores: ArrayLike, q: float) -> float | None:
    """The ceil((n + 1) q)-th smallest of (n,) scores of normal images; None where n is too small.

    q in (0, 1) is the share of new normal images that should lie at or below the threshold.

    Raises:
        ValueError: A score is not finite, the scores are not one-dimensional, or q is not
            inside (0, 1).
    """
    values = _finite(scores)
    wanted = rank(values.size, q)
    return None if wanted is None else float(np.partition(values, wanted - 1)[wanted - 1])


def is_anomalous(score: float, threshold: float) -> bool:
    """The verdict: anomalous if and only if the score lies more than `SLACK` above the threshold.

    Near 1, the highest score that there is, half of the way to it is enough. Every verdict and
    every count of them comes from here.
    """
    return score > min(threshold + SLACK, (threshold + 1.0) / 2.0)


def finding(score: float) -> float:
    """A threshold that finds a defect of this score, also after the rounding of another engine."""
    return score - 2.0 * SLACK


def share_above(scores: Sequence[float], threshold: float) -> float | None:
    """The share of scores that are anomalous by a threshold; None without scores."""
    above = sum(is_anomalous(score, threshold) for score in scores)
    return above / len(scores) if scores else None


def lowered(
    threshold: float, missed: Iterable[float], normal: Sequence[float], rate: float
) -> float:
    """A threshold that finds as many missed defects as the normal images allow.

    It is lowered for each missed score whose `finding` threshold calls at most the share `rate` of
    the (n,) normal scores anomalous, and never raised. Without normal scores it stays.
    """
    wanted = (finding(score) for score in missed)
    shares = ((value, share_above(normal, value)) for value in wanted)
    allowed = [value for value, share in shares if share is not None and share <= rate]
    return min([threshold, *allowed])


class Calibration(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """The thresholds of a trained model, as they stand in `config.json`."""

    per_class: Mapping[str, float | None]
    """A class's own image threshold; None where its normal images are too few."""
    pooled: float
    """Image threshold from the normal images of all classes together."""
    pixel: float
    """Score-map level in [0, 1] at which outlines are drawn."""
    false_alarm_rate: Annotated[float, Field(gt=0, lt=1)]
    """Share of normal images that may be called anomalous: q = 1 - rate."""
    counts: Mapping[str, int]
    """Normal validation images per class; the same names as `per_class`."""
    scores: Mapping[str, Annotated[tuple[float, ...], Field(strict=False)]]
    """The scores that the thresholds were set from, rising, of each class."""
    tile: Annotated[int, Field(ge=1)] | None = None
    """Edge of the tiles, in source pixels, that the scores were taken with; None: whole images."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if set(self.per_class) != set(self.counts):
            raise ValueError("the thresholds and the counts name different classes")
        if {name: len(values) for name, values in self.scores.items()} != dict(self.counts):
            raise ValueError("the stored scores are not as many as the counts say")
        if any(list(values) != sorted(values) for values in self.scores.values()):
            raise ValueError("the stored scores do not rise")
        return self

    @property
    def pooled_is_largest(self) -> bool:
        """Whether even all classes together are too few, so that `pooled` is the largest score."""
        return rank(sum(self.counts.values()), 1.0 - self.false_alarm_rate) is None

    def threshold_for(self, class_name: str | None) -> float:
        """The image threshold of a known class, or the largest of all where none was found."""
        if class_name is None:
            return max((self.threshold_for(name) for name in self.per_class), default=self.pooled)
        value = self.per_class[class_name]
        return self.pooled if value is None else value

    def threshold_for_any(self, class_name: str) -> float:
        """The same for any class: one that the model does not know takes the largest of all."""
        return self.threshold_for(class_name if class_name in self.per_class else None)

    def changed(
        self, scores: Mapping[str, ArrayLike], per_class: Mapping[str, float | None]
    ) -> "Calibration":
        """The same with other scores and own thresholds of some classes, old or new.

        Nothing else moves: the threshold of all classes together stays, and who takes it.
        """
        rising = {name: tuple(np.sort(_finite(own)).tolist()) for name, own in scores.items()}
        new = {
            "per_class": {**self.per_class, **per_class},
            "scores": {**self.scores, **rising},
            "counts": {**self.counts, **{name: len(own) for name, own in rising.items()}},
        }
        return Calibration(**(dict(self) | new))

    def notes(self) -> tuple[str, ...]:
        """Sentences for reports about thresholds that rest on too few images."""
        few = sorted(name for name, value in self.per_class.items() if value is None)
        sentences = []
        if few:
            wanted = math.ceil((1.0 - self.false_alarm_rate) / self.false_alarm_rate - _ROUNDING)
            sentences.append(
                f"Too few normal validation images for a false alarm rate of "
                f"{self.false_alarm_rate:g} in {', '.join(few)}: the threshold of all classes "
                f"together is used there. From {wanted} good pictures of a class that were not "
                "trained on, `omnial calibrate` sets one of its own."
            )
        if few and self.pooled_is_largest:
            sentences.append(
                f"All classes together have {sum(self.counts.values())} normal validation "
                "images, too few as well: the common threshold is their largest score, and more "
                "false alarms are to be expected."
            )
        return tuple(sentences)

    def summary(self) -> dict[str, object]:
        """The thresholds and what they rest on as plain JSON values, without the scores."""
        return self.model_dump(mode="json", exclude={"scores"})


def calibrate(
    scores_by_class: Mapping[str, ArrayLike],
    pixel: float,
    false_alarm_rate: float,
    *,
    tile: int | None = None,
) -> Calibration:
    """Image thresholds from the scores of normal validation images.

    Each class of the model has (n,) of them, n may be 0. The other values are the fields of a
    `Calibration`.

    Raises:
        UserError: There is not a single normal validation image.
        ValueError: A score is not finite, or the rate is not inside (0, 1).
    """
    q = 1.0 - false_alarm_rate
    scores = {name: _finite(values) for name, values in scores_by_class.items()}
    everything = np.concatenate([np.empty(0), *scores.values()])
    if everything.size == 0:
        raise UserError(
            "No normal validation image, so no threshold can be set: give at least 5 training "
            "images per class and a data.validation_share above 0."
        )
    pooled = threshold(everything, q)
    return Calibration(
        per_class={name: threshold(values, q) for name, values in scores.items()},
        pooled=float(everything.max()) if pooled is None else pooled,
        pixel=pixel,
        false_alarm_rate=false_alarm_rate,
        counts={name: int(values.size) for name, values in scores.items()},
        scores={name: tuple(np.sort(values).tolist()) for name, values in scores.items()},
        tile=tile,
    )


def _finite(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("scores must be a one-dimensional array of finite numbers")
    return values
