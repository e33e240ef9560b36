"""Which product an image shows: the nearest class mean, or none where all are far away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHRINKAGE = 0.1
"""Share of the features' common variance in the variance of each. [O]"""
QUANTILE = 0.99
"""Quantile of a class's own distances that its radius starts from. [O]"""
MARGIN = 1.5
"""Radius over that quantile: unknown is only what lies clearly outside every class. [O]"""
PRIOR_IMAGES = 10.0
"""Weight, in images, of all classes' distances in the radius of one class. [O]"""

SMALLEST_RADIUS = 1.0
"""An image one standard deviation away is never unknown, even if its class hardly varies. [O]"""


@dataclass(frozen=True)
class Recogniser:
    """Nearest class mean in standardised features, with a radius per class.

    The distance is the root mean square over features of (x - mean) / scale. One scale per
    feature, pooled over the classes and shrunk towards the features' median, stays
    stable with two images per class and thousands of features (diagonal discriminant analysis,
    Dudoit et al. 2002).
    """

    names: tuple[str, ...]
    means: NDArray[np.float32]
    """(C, F) mean features of each class."""
    scale: NDArray[np.float32]
    """(F,) positive standard deviation of each feature within the classes."""
    radius: NDArray[np.float32]
    """(C,) largest distance at which an image still counts as of the class."""

    def __post_init__(self) -> None:
        classes, features = len(self.names), self.scale.shape
        if classes == 0 or len(features) != 1 or features[0] == 0:
            raise ValueError("a recogniser needs at least one class and one feature")
        if self.means.shape != (classes, *features) or self.radius.shape != (classes,):
            raise ValueError("the recogniser's arrays do not fit its classes and each other")
        for array in (self.means, self.scale, self.radius):
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError("the recogniser's arrays must be finite float32")
        if (self.scale <= 0).any() or (self.radius < 0).any():
            raise ValueError("the recogniser's scales and radii must be positive")

    @classmethod
    def fit(cls, features: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> "Recogniser":
        """Learn the classes from features of normal images.

        Args:
            features: (n, F) finite features.
            labels: (n,) integers, the index of each image's class in `names`.
            names: The classes; each needs at least one image.

        Raises:
            ValueError: Shapes do not match, a feature is not finite, a label is out of range,
                or a class has no image.
        """
        x = np.asarray(features, dtype=np.float64)
        y = np.asarray(labels)
        if x.ndim != 2 or y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise ValueError("features must be (n, F), labels (n,) integers")
        if not np.isfinite(x).all():
            raise ValueError("a feature is not finite")
        if y.size and not 0 <= y.min() <= y.max() < len(names):
            raise ValueError("a label is out of range")
        absent = sorted(set(range(len(names))) - set(y.tolist()))
        if not names or absent:
            raise ValueError(f"no image of class {names[absent[0]]!r}" if names else "no classes")
        means = np.stack([x[y == index].mean(axis=0) for index in range(len(names))])
        variance, target = _spread(x, y, means)
        return cls(
            names=tuple(names),
            means=means.astype(np.float32),
            scale=_shrunk(variance, target).astype(np.float32),
            radius=_radii(x, y, means, variance, target),
        )

    def distances(self, features: ArrayLike) -> NDArray[np.float64]:
        """Distance of each image to each class.

        Args:
            features: (n, F).

        Returns:
            (n, C), at least 0; about 1 for an image of the class.

        Raises:
            ValueError: The features have another length than those learnt from.
        """
        x = np.asarray(features, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.scale.size:
            raise ValueError(f"features must be (n, {self.scale.size}), not {x.shape}")
        return np.stack([_length((x - mean) / self.scale) for mean in self.means], axis=1)

    def recognise(self, features: ArrayLike) -> list[str | None]:
        """The class of each image: the nearest whose radius reaches it, None for unknown.

        Args:
            features: (n, F); an image with a non-finite feature is unknown.

        Raises:
            ValueError: The features have another length than those learnt from.
        """
        distances = self.distances(features)
        within = np.where(distances <= self.radius, distances, np.inf)
        nearest = within.argmin(axis=1)
        return [
            self.names[index] if np.isfinite(row[index]) else None
            for row, index in zip(within, nearest, strict=True)
        ]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What was learnt, without the names; `from_arrays` reads it back."""
        return {"means": self.means, "scale": self.scale, "radius": self.radius}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[np.float32]], names: Sequence[str]
    ) -> "Recogniser":
        """Put a recogniser together from `arrays()` and the names of its classes.

        Raises:
            ValueError: An array is missing, unknown, or of the wrong shape or dtype, or holds
                impossible values.
        """
        if set(arrays) != {"means", "scale", "radius"}:
            raise ValueError("a recogniser has the arrays means, scale and radius")
        return cls(tuple(names), arrays["means"], arrays["scale"], arrays["radius"])


def _shrunk(variance: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    """Standard deviations from variances, shrunk towards a common one; always positive."""
    deviation: NDArray[np.float64] = np.sqrt((1 - SHRINKAGE) * variance + SHRINKAGE * target)
    return deviation


def _spread(
    x: NDArray[np.float64], y: NDArray[np.integer], means: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """(F,) variance within the classes, and the target to shrink it to.

    Where no class varies (one image each), the variance over all images stands in. The target
    is the median over features that vary at all; dead ones would pull it to zero, so that a
    first sign of life there outweighed everything else.
    """
    variance = np.square(x - means[y]).sum(axis=0) / max(len(x) - len(means), 1)
    # Identical images differ by rounding alone.
    floor = max(float(np.abs(x).max()) * 1e-6, 1e-12) ** 2
    if variance.max() <= floor:
        variance = x.var(axis=0)
    alive = variance[variance > floor]
    return variance, float(np.median(alive)) if alive.size else floor


def _radii(
    x: NDArray[np.float64],
    y: NDArray[np.integer],
    means: NDArray[np.float64],
    variance: NDArray[np.float64],
    target: float,
) -> NDArray[np.float32]:
    """(C,) radius of each class from leave-one-out distances.

    Without one of n images, a class's mean lies n / (n - 1) times as far from that image, and
    the sum of squares within the classes is smaller by n / (n - 1) times its square. A class of
    few images leans on the distances of all; where no class has two images, the radius is
    unlimited, since nothing says what is far.
    """
    counts = np.bincount(y, minlength=len(means))
    several = counts[y] >= 2
    if not several.any():
        return np.full(len(counts), np.finfo(np.float32).max, dtype=np.float32)
    owners = y[several]
    residual = x[several] - means[owners]
    left_out = residual * (counts[owners] / (counts[owners] - 1))[:, None]
    freedom = len(x) - len(means)
    if freedom > 1:
        rest = np.maximum(variance * freedom - left_out * residual, 0.0) / (freedom - 1)
    else:
        rest = np.broadcast_to(variance, residual.shape)
    distances = _length(left_out / _shrunk(rest, target))
    common = np.quantile(distances, QUANTILE)
    own = [
        np.quantile(distances[owners == index], QUANTILE) if count >= 2 else common
        for index, count in enumerate(counts)
    ]
    blended = (counts * np.array(own) + PRIOR_IMAGES * common) / (counts + PRIOR_IMAGES)
    radii: NDArray[np.float64] = np.maximum(MARGIN * blended, SMALLEST_RADIUS)
    return radii.astype(np.float32)


def _length(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, F) -> (n,) root mean square over features."""
    length: NDArray[np.float64] = np.sqrt(np.square(x).mean(axis=1))
    return length
