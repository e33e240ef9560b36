"""Which product an image shows: that of the nearest example, or none where none is near."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

GROUPS: Final = ((0.15, 0.35), (0.4, 0.6), (0.65, 0.85))
"""Shares of an image's sorted cells, each group of which is averaged. [O]"""
LEVELS: Final = 5
"""Scales, each half as fine as the one before, whose detail is looked at. [O]"""
FEATURES: Final = 1 + len(GROUPS) * (3 + 5 * LEVELS + LEVELS - 1)
"""Features of an image: contrast; of each group, brightness, two colours and for each scale the
detail in four directions, how evenly it is spread and, but for the finest, that of the colours."""
MOST_EXAMPLES: Final = 100
"""Examples of a class, or of no product, at most: what a model folder holds is bounded."""

SPREAD: Final = 0.1
"""Standard deviation that every feature is taken to have besides what the images show. [O]"""
QUANTILE: Final = 0.9
"""Quantile of a class's own distances that its radius starts from: heavy tails do not count. [O]"""
PRIOR_IMAGES: Final = 3.0
"""Weight, in images, of all classes' distances in those of one class. [O]"""
SMALLEST: Final = 0.15
"""Distance of a class's images from each other, at least, even where they are the same. [O]"""
OTHERS: Final = 0.02
"""Quantile of the distances of other classes' images that counts as the nearest. [O]"""
MARGINS: Final = (1.3, 3.0)
"""Least and largest radius over a class's own distances. [O]"""
ALONE: Final = 2.0
"""The same where there is no other class to compare with. [O]"""
LESS_CONTRAST: Final = 0.7
"""How far the first feature may lie below that of nearly all of a class: log 2, half. [O]"""

_KEYS = ("examples", "counts", "scale", "radius", "least", "nothing")
"""Names of the arrays in files, in the order of the recogniser's fields."""


@dataclass(frozen=True)
class Recogniser:
    """Nearest example in scaled features, with a radius per class.

    The distance is the root mean square over features of the difference / scale. It is taken to
    examples and not to a mean, since a class may have several appearances. The radius lies half way
    (in ratios) between the distances of a class's own images from each other and those of the
    other classes' images, within bounds: a defective part is less like a good one than a good one
    is, and is to be recognised none the less. What is nearer to an example of no product, such as
    noise, is unknown at any distance.

    Features are expected in units in which 0.1 is a small difference; the first is a measure of
    how much there is to see. See `omnial.models.appearance`.
    """

    names: tuple[str, ...]
    examples: NDArray[np.float32]
    """(N, F) features of normal images, class by class."""
    counts: NDArray[np.int64]
    """(C,) how many of these belong to each class, 1 to MOST_EXAMPLES."""
    scale: NDArray[np.float32]
    """(F,) positive standard deviation of each feature within the classes."""
    radius: NDArray[np.float32]
    """(C,) largest distance at which an image still counts as of the class."""
    min_contrast: NDArray[np.float32]
    """(C,) smallest first feature at which an image still counts as of the class."""
    no_product: NDArray[np.float32]
    """(M, F) features of images that show no product, at most MOST_EXAMPLES."""

    def __post_init__(self) -> None:
        # Types and shapes of a file's arrays are those of its forms.
        if not ((self.counts >= 1) & (self.counts <= MOST_EXAMPLES)).all():
            raise ValueError(f"a recogniser has 1 to {MOST_EXAMPLES} examples of each class")
        if self.counts.sum() != len(self.examples) or len(self.no_product) > MOST_EXAMPLES:
            raise ValueError("the recogniser's arrays do not fit its classes and each other")
        if not all(np.isfinite(array).all() for array in self.arrays().values()):
            raise ValueError("the recogniser's arrays must be finite")
        if (self.scale <= 0).any() or (self.radius < 0).any():
            raise ValueError("the recogniser's scales and radii must be positive")

    @classmethod
    def fit(
        cls,
        features: ArrayLike,
        labels: ArrayLike,
        names: Sequence[str],
        no_product: ArrayLike = (),
    ) -> "Recogniser":
        """Learn the classes from features (n, F) of normal images and labels (n,), their classes.

        Each class needs 1 to MOST_EXAMPLES images; `no_product` are (m, F) features of at most as
        many images that show none, such as noise.

        Raises:
            ValueError: A feature is not finite, or a class has too many images.
        """
        x, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
        classes = [x[y == index] for index in range(len(names))]
        within = sum(np.square(part - part.mean(0)).sum(0) for part in classes)
        scale = np.sqrt(within / max(len(x) - len(names), 1) + SPREAD**2)
        firsts = [float(np.quantile(part[:, 0], 1 - QUANTILE)) for part in classes]
        return cls(
            names=tuple(names),
            examples=np.concatenate(classes).astype(np.float32),
            counts=np.array([len(part) for part in classes], np.int64),
            scale=scale.astype(np.float32),
            radius=_radii([part / scale for part in classes]),
            min_contrast=np.array(firsts, np.float32) - np.float32(LESS_CONTRAST),
            no_product=np.asarray(no_product, np.float32).reshape(-1, scale.size),
        )

    def distances(self, features: ArrayLike) -> NDArray[np.float64]:
        """(n, C) distance of each image to the nearest example of each class, from (n, F).

        It is infinite for an image with a non-finite feature.

        Raises:
            ValueError: The features have another length than those learnt from.
        """
        x = np.asarray(features, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.scale.size:
            raise ValueError(f"features must be (n, {self.scale.size}), not {x.shape}")
        parts = np.split(self.examples, np.cumsum(self.counts)[:-1])
        return np.stack([self._nearest(x, part) for part in parts], axis=1)

    def recognise(self, features: ArrayLike) -> list[str | None]:
        """The class of each image: the nearest, in radii, of those that reach it, or None.

        From (n, F), as `distances`; an image with a non-finite feature is unknown.
        """
        distances = self.distances(features)
        x = np.asarray(features, dtype=np.float64)
        fits = (distances <= self.radius) & (x[:, :1] >= self.min_contrast)
        if len(self.no_product):
            fits &= distances < self._nearest(x, self.no_product)[:, None]
        ratios = np.where(fits, distances / np.maximum(self.radius, 1e-30), np.inf)
        return [
            self.names[index] if fit[index] else None
            for fit, index in zip(fits, ratios.argmin(axis=1), strict=True)
        ]

    def _nearest(
        self, x: NDArray[np.float64], examples: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """(n, F) -> (n,) distance to the nearest example, infinite where x is not finite."""
        finite = np.isfinite(np.abs(x).max(axis=1))
        scale = self.scale.astype(np.float64)
        apart = _apart(np.where(finite[:, np.newaxis], x, 0.0) / scale, examples / scale)
        return np.where(finite, apart.min(axis=1), np.inf)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learnt, without the names; `from_arrays` reads it back."""
        learnt = (self.examples, self.counts, self.scale, self.radius)
        return dict(zip(_KEYS, (*learnt, self.min_contrast, self.no_product), strict=True))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> "Recogniser":
        """Put a recogniser together from `arrays()` and the names of its classes."""
        return cls(tuple(names), *(arrays[key] for key in _KEYS))


def _radii(classes: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """(C,) radius of each class from scaled features.

    A class of few images leans on the distances of all; where no class has two images, its own
    are taken to lie a scale apart.
    """
    own = [_to_nearest(part) for part in classes]
    everything = np.concatenate(own)
    common = float(np.quantile(everything, QUANTILE)) if everything.size else 1.0
    radii = []
    for index, (part, distances) in enumerate(zip(classes, own, strict=True)):
        count = distances.size
        usual = float(np.quantile(distances, QUANTILE)) if count else 0.0
        usual = (count * usual + PRIOR_IMAGES * common) / (count + PRIOR_IMAGES)
        usual = max(usual, SMALLEST)
        others = [_apart(other, part).min(1) for at, other in enumerate(classes) if at != index]
        margin = ALONE
        if others:
            nearest = float(np.quantile(np.concatenate(others), OTHERS))
            margin = float(np.clip(np.sqrt(nearest / usual), *MARGINS))
        radii.append(margin * usual)
    return np.array(radii, np.float32)


def _to_nearest(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, F) -> (n,) distance of each image to the nearest other one; (0,) for a single image."""
    apart = _apart(x, x)
    np.fill_diagonal(apart, np.inf)
    nearest: NDArray[np.float64] = apart.min(axis=1)
    return nearest[np.isfinite(nearest)]


def _apart(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, F), (m, F) -> (n, m) root mean square difference."""
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    apart: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0.0) / x.shape[1])
    return apart
