"""Bootstrap resamples of test images, and what AUROC and AP are in each of them.

A resample is a weight for each image. The scores of each image are counted in bins once; the counts
of every resample are then a product of two matrices, and its figures sums over the bins. Samples in
one bin count as tied.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

QUANTILES = 2048
"""Bins hold at most this part of the normal, and of the anomalous, scores that differ."""
_LOOKED_AT = 1 << 20  # scores of either label that the quantiles are taken of


class Ranked(NamedTuple):
    """Figures of some resamples, (R,) float64 each, in 0..1."""

    auroc: NDArray[np.float64]
    average_precision: NDArray[np.float64]


def resample(name: str, strata: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """How often each image of a class is drawn in each resample.

    Images are drawn with replacement within their stratum, as many as there are. The draws depend
    on the name and the strata alone, so that any two models are asked about the same resamples.

    Args:
        name: The class, which seeds the draws.
        strata: (N,) whole numbers; what must not vary is equal in all images of one number.
        count: How many resamples.

    Returns:
        (count, N) whole numbers as float32.
    """
    random = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    drawn = np.zeros((count, strata.size), np.float32)
    rows = np.arange(count)[:, None]
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        np.add.at(drawn, (rows, random.choice(own, (count, own.size))), 1.0)
    return drawn


def bin_edges(
    normal: Sequence[NDArray[np.float32]], anomalous: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Ascending edges of bins at the quantiles of normal and of anomalous scores: (B - 1,)."""
    edges = []
    for parts in (normal, anomalous):
        every = -(-sum(part.size for part in parts) // _LOOKED_AT)
        scores = np.sort(np.concatenate([part[::every] for part in parts]))
        edges.append(scores[np.linspace(0, scores.size - 1, QUANTILES).astype(np.int64)])
    return np.unique(np.concatenate(edges))


def bin_counts(
    scores: Sequence[NDArray[np.float32]], edges: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How many of each image's scores, (n,) each in any order, lie in each bin: (N, B)."""
    counts = np.empty((len(scores), edges.size + 1), np.float32)
    for own, values in zip(counts, scores, strict=True):
        # Sorting is several times as fast as a search for the bin of each of many scores.
        below = np.searchsorted(np.sort(values), edges)
        own[:] = np.diff(below, prepend=0, append=values.size)
    return counts


def ranked(
    weights: NDArray[np.float32], normal: NDArray[np.float32], anomalous: NDArray[np.float32]
) -> Ranked:
    """The figures of each resample.

    Args:
        weights: (R, N) of `resample`.
        normal: (N, B) counts of normal samples in bins of ascending score.
        anomalous: The same of anomalous samples. Both labels must occur in every resample.
    """
    false, true = (
        (weights @ counts)[:, ::-1].cumsum(1, np.float64) for counts in (normal, anomalous)
    )
    negatives, positives = false[:, -1], true[:, -1]
    new_false, new_true = (np.diff(sums, axis=1, prepend=0.0) for sums in (false, true))
    area = (new_false * (true - 0.5 * new_true)).sum(1)
    precision = (new_true * true / np.maximum(true + false, 1.0)).sum(1)
    return Ranked(area / (negatives * positives), precision / positives)
