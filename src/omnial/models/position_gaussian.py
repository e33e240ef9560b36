"""A Gaussian of features at each cell of an image, and how far out another image's cells lie.

The features are whitened by the product's covariance at a place, centred on the cell's mean, and
scaled by the cell's deviation, which is shrunk to the product's. What is normal for a product
builds on it, see `omnial.models.normality`. NumPy alone, so that exports need no PyTorch. [O]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

COMPONENTS: Final = 96
"""Principal components of the features, at most. [O]"""
PRIOR_IMAGES: Final = 10.0
"""Weight, in images, of the product's deviation in that of a cell. [O]"""
FLOOR: Final = 0.05
"""Variance of a cell, at least; the product's is 1. [O]"""
LEVELS: Final = np.concatenate([np.linspace(0.0, 0.9, 10), 1.0 - np.geomspace(0.1, 1e-3, 12)[1:]])
"""Shares of normal values whose quantiles are kept."""
EVIDENCE: Final = -np.log10(1.0 - LEVELS)
"""-log10 of the share of normal values beyond each of these quantiles."""
TAIL_KNOTS: Final = 8
"""Last quantiles, whose slope continues beyond them: one in a hundred to one in a thousand."""
_APART: Final = 0.02  # of two quantiles, at least, in logits or deviations
_SPREAD: Final = 0.5  # cells, of the Gaussian that blurs means and variances

Cells = Sequence[NDArray[np.floating[Any]]] | NDArray[np.floating[Any]]
"""Features of images, (E, h, w) each."""


@dataclass(frozen=True, eq=False)
class PositionGaussian:
    """What features of one product's images are normal, place by place.

    E features of a cell, D components, a grid of gh x gw cells, K quantiles.
    """

    center: NDArray[np.float32]
    """(E,) mean of the features."""
    basis: NDArray[np.float32]
    """(D, E), from centred features to whitened components."""
    mean: NDArray[np.float32]
    """(D, gh, gw) of each cell."""
    deviation: NDArray[np.float32]
    """(D, gh, gw) of each cell, positive."""
    distance_quantiles: NDArray[np.float32]
    """(K,) distances of normal cells at `LEVELS`."""

    def __post_init__(self) -> None:
        components, features = self.basis.shape if self.basis.ndim == 2 else (0, 0)
        if (
            self.center.shape != (features,)
            or self.mean.ndim != 3
            or self.mean.shape[0] != components
            or self.deviation.shape != self.mean.shape
            or self.distance_quantiles.shape != LEVELS.shape
            or 0 in self.mean.shape
        ):
            raise ValueError("the arrays of a normality do not fit each other")
        for name, array in self.arrays().items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"a normality's {name} must be finite float32")
        if (self.deviation <= 0).any():
            raise ValueError("a normality's deviations must be positive")

    @classmethod
    def fit(cls, train: Cells) -> "PositionGaussian":
        """Learn from at least one image; the quantiles are those of `ranked`."""
        rows, columns = (int(np.median([x.shape[axis] for x in train])) for axis in (1, 2))
        grids = [on_grid(embedding, rows, columns) for embedding in train]
        center, basis = _whitening(grids)
        total = np.zeros((len(basis), rows, columns))
        squares = np.zeros_like(total)
        for grid in grids:
            components = _components(grid, center, basis)
            total += components
            squares += np.square(components, dtype=np.float64)
        # Blurred squares widen deviations at edges, where a part that lies aside would stand out.
        count, blur = len(train), (0.0, _SPREAD, _SPREAD)
        mean = gaussian_filter(total / count, blur, mode="nearest")
        variance = gaussian_filter(squares / count, blur, mode="nearest") - mean**2
        usual = variance.mean((1, 2), keepdims=True)
        variance = (count * variance + PRIOR_IMAGES * usual) / (count + PRIOR_IMAGES)
        deviation = np.sqrt(np.maximum(variance, FLOOR)).astype(np.float32)
        unranked = np.zeros(LEVELS.shape, np.float32)
        return cls(center, basis, mean.astype(np.float32), deviation, unranked)

    def ranked(self, distances: Iterable[NDArray[np.float32]]) -> "PositionGaussian":
        """The same, with the quantiles of other normal images' distances, of any shapes."""
        return replace(self, distance_quantiles=quantiles(distances))

    def distances(self, embedding: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Root mean square of the standardised components: (..., E, h, w) to (..., h, w)."""
        rows, columns = embedding.shape[-2:]
        components = _components(embedding, self.center, self.basis)
        components -= on_grid(self.mean, rows, columns)
        components /= on_grid(self.deviation, rows, columns)
        distances: NDArray[np.float32] = np.sqrt(np.square(components).mean(-3))
        return distances

    def evidence(
        self, embedding: NDArray[np.floating[Any]], height: int, width: int
    ) -> NDArray[np.float32]:
        """-log10 of the share of normal cells beyond: (B, E, h, w) to (B, height, width)."""
        return enlarged(tail(self.distances(embedding), self.distance_quantiles), height, width)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What was learnt, by the name of each field."""
        return {name: getattr(self, name) for name in GAUSSIAN_ARRAYS}


GAUSSIAN_ARRAYS: Final = tuple(field.name for field in fields(PositionGaussian))
"""Names of the arrays of a `PositionGaussian`."""


def quantiles(values: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Of normal values at `LEVELS`, apart from each other, so that no rounding becomes evidence."""
    apart, every = _APART * np.arange(len(LEVELS)), np.concatenate([x.ravel() for x in values])
    rising: NDArray[Any] = np.maximum.accumulate(np.quantile(every, LEVELS) - apart) + apart
    return rising.astype(np.float32)


def tail(values: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """-log10 of the share of normal values beyond; an exponential tail follows the last quantile.

    `known` are the `quantiles` of normal values.
    """
    run = max(known[-1] - known[-TAIL_KNOTS], 1e-6)
    rise = (EVIDENCE[-1] - EVIDENCE[-TAIL_KNOTS]) / run
    beyond = np.maximum(values - known[-1], 0.0) * np.float32(rise)
    inside: NDArray[np.float32] = np.interp(values, known, EVIDENCE).astype(np.float32)
    found: NDArray[np.float32] = inside + beyond
    return found


def on_grid(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The nearest values on another grid of the same image: (..., h, w) to (..., rows, columns)."""
    height, width = values.shape[-2:]
    if (height, width) == (rows, columns):
        return values
    y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    return values[..., y[:, None], x]


def highest(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The highest value within each cell of a coarser grid: (..., H, W) to (..., rows, columns)."""
    height, width = values.shape[-2:]
    in_rows = np.maximum.reduceat(values, np.arange(rows) * height // rows, -2)
    found: NDArray[Any] = np.maximum.reduceat(in_rows, np.arange(columns) * width // columns, -1)
    return found


def _whitening(grids: Cells) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean of the features, and their principal components, whitened by how they vary at a place.

    What tells one place from another, such as the part from the ground, is no variation of normal
    parts: it would hide defects that look alike. Images that are all the same show no other.
    """
    cells = [grid.reshape(len(grid), -1) for grid in grids]
    mean: NDArray[np.float64] = np.mean(cells, axis=0, dtype=np.float64)
    center = mean.mean(1, keepdims=True)
    covariance = _covariance(cells, mean)
    if not covariance.any():
        covariance = _covariance(cells, center)
    deviations = np.sqrt(np.diag(covariance))
    # A channel that hardly moves must not be blown up: its rounding would become evidence.
    scale = np.maximum(deviations, 0.02 * max(float(deviations.max()), 1e-12))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    largest = np.argsort(values)[::-1][:COMPONENTS]
    largest = largest[values[largest] > 1e-4 * values[largest[0]]]
    values, vectors = values[largest], vectors[:, largest]
    basis = (vectors / np.sqrt(values + 0.05 * values.mean())).T / scale
    return center[:, 0].astype(np.float32), basis.astype(np.float32)


def _covariance(
    images: Sequence[NDArray[np.floating[Any]]], middle: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(E, E) of the features of images, (E, cells) each, about their middle."""
    products: NDArray[np.float64] = np.zeros((len(middle), len(middle)))
    for cells in images:
        around = (cells - middle).astype(np.float32)
        products += around @ around.T
    products /= len(images) * images[0].shape[1]
    return products


def _components(
    embedding: NDArray[np.floating[Any]], center: NDArray[np.float32], basis: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(..., E, h, w) to (..., D, h, w)."""
    centred = embedding.astype(np.float32) - center[:, None, None]
    flat = basis @ centred.reshape(*centred.shape[:-2], -1)
    return flat.reshape(*flat.shape[:-1], *embedding.shape[-2:])


def enlarged(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear, between the middles of cells: (B, h, w) to (B, height, width)."""
    rows, columns = _bilinear(cells.shape[1], height), _bilinear(cells.shape[2], width)
    pixels: NDArray[np.float32] = np.matmul(np.matmul(rows, cells), columns.T, dtype=np.float32)
    return pixels


@lru_cache(maxsize=64)
def _bilinear(cells: int, pixels: int) -> NDArray[np.float32]:
    """(pixels, cells): what each cell gives to each pixel along an axis."""
    at = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0.0, cells - 1.0)
    weights: NDArray[np.float32] = np.maximum(
        1.0 - np.abs(at[:, None] - np.arange(cells)), 0.0
    ).astype(np.float32)
    return weights
