"""Thresholds from the scores of normal validation images: the one place that decides.

The threshold is the split-conformal quantile: with n exchangeable normal scores, a new normal
image lies above the ceil((n + 1) q)-th smallest with probability at most 1 - q (Vovk et al.,
"Algorithmic Learning in a Random World", 2005). With too few images for q there is no such
score; the class then takes the threshold of all classes together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """The ceil((n + 1) q)-th smallest of n scores.

    Args:
        scores: (n,) finite scores of normal images; n may be 0.
        q: Share of new normal images that should lie at or below the threshold, in (0, 1).

    Returns:
        The threshold, or None where n is too small for q.

    Raises:
        ValueError: A score is not finite, the scores are not one-dimensional, or q is not
            inside (0, 1).
    """
    values = _finite(scores)
    wanted = rank(values.size, q)
    return None if wanted is None else float(np.partition(values, wanted - 1)[wanted - 1])


def is_anomalous(score: float, limit: float) -> bool:
    """The verdict: anomalous if and only if the score lies more than `SLACK` above the threshold.

    Near 1, the highest score that there is, half of the way to it is enough. Every verdict and
    every count of them comes from here.
    """
    return score > min(limit + SLACK, (limit + 1.0) / 2.0)


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a trained model."""

    per_class: Mapping[str, float | None]
    """A class's own image threshold; None where its normal images are too few."""
    pooled: float
    """Image threshold from the normal images of all classes together."""
    pixel: float
    """Score-map level in [0, 1] at which outlines are drawn."""
    false_alarm_rate: float
    """Share of normal images that may be called anomalous: q = 1 - rate."""
    counts: Mapping[str, int]
    """Normal validation images per class; the same names as `per_class`."""
    scores: Mapping[str, tuple[float, ...]]
    """The scores that the thresholds were set from, rising, of each class."""
    tile: int | None = None
    """Edge of the tiles, in source pixels, that the scores were taken with; None: whole images."""

    def __post_init__(self) -> None:
        if set(self.per_class) != set(self.counts):
            raise ValueError("the thresholds and the counts name different classes")
        numbers = [v for v in self.per_class.values() if v is not None]
        if not np.isfinite([*numbers, self.pooled, self.pixel]).all():
            raise ValueError("a threshold is not a finite number")
        if not 0.0 < self.false_alarm_rate < 1.0:
            raise ValueError("the false alarm rate must lie between 0 and 1")
        if any(count < 0 for count in self.counts.values()):
            raise ValueError("a count of validation images is negative")
        if self.tile is not None and self.tile < 1:
            raise ValueError("a tile has at least one pixel")
        if {name: len(values) for name, values in self.scores.items()} != dict(self.counts):
            raise ValueError("the stored scores are not as many as the counts say")
        if any(_finite(values).tolist() != sorted(values) for values in self.scores.values()):
            raise ValueError("the stored scores do not rise")

    @property
    def pooled_is_largest(self) -> bool:
        """Whether even all classes together are too few, so that `pooled` is the largest score."""
        return rank(sum(self.counts.values()), 1.0 - self.false_alarm_rate) is None

    def threshold_for(self, class_name: str | None) -> float:
        """The image threshold of a class, or the largest of all where no class was found.

        Raises:
            KeyError: The model does not know the class.
        """
        if class_name is None:
            return max((self.threshold_for(name) for name in self.per_class), default=self.pooled)
        value = self.per_class[class_name]
        return self.pooled if value is None else value

    def threshold_for_any(self, class_name: str) -> float:
        """The same for any class: one that the model does not know takes the largest of all."""
        return self.threshold_for(class_name if class_name in self.per_class else None)

    def notes(self) -> tuple[str, ...]:
        """Sentences for reports about thresholds that rest on too few images."""
        few = sorted(name for name, value in self.per_class.items() if value is None)
        sentences = []
        if few:
            sentences.append(
                f"Too few normal validation images for a false alarm rate of "
                f"{self.false_alarm_rate:g} in {', '.join(few)}: the threshold of all classes "
                "together is used there."
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
        return {
            "per_class": dict(self.per_class),
            "pooled": self.pooled,
            "pixel": self.pixel,
            "false_alarm_rate": self.false_alarm_rate,
            "counts": dict(self.counts),
            "tile": self.tile,
        }

    def to_dict(self) -> dict[str, object]:
        """Everything as plain JSON values; `from_dict` reads them back."""
        return {**self.summary(), "scores": {k: list(v) for k, v in self.scores.items()}}

    @classmethod
    def from_dict(cls, values: object) -> "Calibration":
        """Read what `to_dict` wrote.

        Raises:
            ValueError: A key is missing or unknown, or a value is of the wrong kind.
        """
        keys = {"per_class", "pooled", "pixel", "false_alarm_rate", "counts", "scores", "tile"}
        if not isinstance(values, dict) or set(values) != keys:
            raise ValueError(f"expected an object with the keys {', '.join(sorted(keys))}")
        per_class, counts = values["per_class"], values["counts"]
        if not isinstance(per_class, dict) or not isinstance(counts, dict):
            raise ValueError("per_class and counts must be objects")
        if not all(type(count) is int for count in counts.values()):
            raise ValueError("counts must hold whole numbers")
        tile = values["tile"]
        if tile is not None and type(tile) is not int:
            raise ValueError("tile must be a whole number of pixels")
        return cls(
            per_class={k: None if v is None else _number(v) for k, v in per_class.items()},
            pooled=_number(values["pooled"]),
            pixel=_number(values["pixel"]),
            false_alarm_rate=_number(values["false_alarm_rate"]),
            counts=counts,
            scores=_stored_scores(values["scores"]),
            tile=tile,
        )


def calibrate(
    scores_by_class: Mapping[str, ArrayLike],
    pixel: float,
    false_alarm_rate: float,
    *,
    tile: int | None = None,
) -> Calibration:
    """Image thresholds from the scores of normal validation images.

    Args:
        scores_by_class: For each class of the model, the (n,) image scores of its normal
            validation images; n may be 0.
        pixel: Score-map level in [0, 1] at which outlines are drawn.
        false_alarm_rate: Share of normal images that may be called anomalous, in (0, 1).
        tile: Edge of the tiles that the scores were taken with; None for whole images.

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
        pixel=float(pixel),
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


def _stored_scores(values: object) -> dict[str, tuple[float, ...]]:
    if not isinstance(values, dict) or not all(isinstance(v, list) for v in values.values()):
        raise ValueError("scores must be an object of lists")
    return {name: tuple(_number(score) for score in scores) for name, scores in values.items()}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, not {value!r}")
    return float(value)
