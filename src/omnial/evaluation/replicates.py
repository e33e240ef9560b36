"""Figures of a class over bootstrap resamples of its test images: what other images would say."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omnial.evaluation.gather import Measured
from omnial.metrics.bootstrap import bin_counts, bin_edges, ranked, resample


def replicate(name: str, images: Sequence[Measured], count: int) -> dict[str, NDArray[np.float64]]:
    """`image_auroc`, `pixel_auroc` and `pixel_ap` of a class over resamples of its test images.

    Good images, defective ones, and defective ones without a mask are drawn apart, so that a
    resample has as many of each. A figure that the class cannot have is left out. Equal images give
    equal resamples whatever the model (`resample`), so that two models' replicates are pairs.

    Args:
        name: The class.
        images: All its test images, in the order of the catalogue.
        count: How many resamples.

    Returns:
        A value in 0..1 for each resample, (count,), by the names of the figures.
    """
    labels = np.array([one.record.anomalous for one in images])
    counted = np.array([one.score_map is not None for one in images])
    weights = resample(name, 2 * labels + counted, count)
    found = {}
    if labels.any() and not labels.all():
        scores, position = np.unique([one.score for one in images], return_inverse=True)
        places = np.eye(scores.size, dtype=np.float32)[position]
        by_label = (places * (labels == label)[:, None] for label in (False, True))
        found["image_auroc"] = ranked(weights, *by_label).auroc
    normal, anomalous = _pixels(images, of_defects=False), _pixels(images, of_defects=True)
    own = weights[:, counted]
    if sum(part.size for part in normal) and sum(part.size for part in anomalous):
        edges = bin_edges(normal, anomalous)
        pixels = ranked(own, bin_counts(normal, edges), bin_counts(anomalous, edges))
        # A resample of images whose masks are all empty has no figure.
        if np.isfinite(pixels.average_precision).all():
            found |= {"pixel_auroc": pixels.auroc, "pixel_ap": pixels.average_precision}
    return found


def _pixels(images: Sequence[Measured], *, of_defects: bool) -> list[NDArray[np.float32]]:
    """The scores of the counted pixels in, or out of, the defects of each counted image."""
    parts = []
    for one in images:
        if one.score_map is not None:
            mask = np.zeros(one.valid.shape, bool) if one.mask is None else one.mask
            parts.append(one.score_map[one.valid & (mask == of_defects)])
    return parts
