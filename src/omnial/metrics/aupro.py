"""AUPRO: area under the per-region overlap curve.

The overlap of a threshold is the mean over all ground-truth regions of the share of the region
that is called anomalous (Bergmann et al., MVTec AD, IJCV 2021, section 5.2). The curve runs over
the false positive rate of all normal pixels, up to 0.3, and its area is divided by 0.3.

Each anomalous pixel lifts the curve by 1 / (regions x pixels of its region) where the threshold
passes its score. The area is therefore a plain sum over pixels, and neither the curve nor the
order of the anomalous pixels is needed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]

FPR_LIMIT = 0.3
"""The curve is integrated from a false positive rate of 0 to this one."""

_EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)


def scores_by_region(
    score_map: Scores, mask: Mask, valid: Mask | None
) -> tuple[Scores, NDArray[np.uint32]]:
    """The anomalous pixels of one image, region after region.

    Regions are 8-connected in the whole mask: what lies outside `valid` is then dropped, so that
    a region of interest which cuts a defect in two does not make two defects of it.

    All are (H, W). Returns the scores of the n counted anomalous pixels, (n,) float32, and how many
    of them each of the r regions has, (r,) uint32, none zero.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return np.empty(0, np.float32), np.empty(0, np.uint32)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, _ = ndimage.label(mask[box], structure=_EIGHT_CONNECTED)
    counted = mask[box] if valid is None else mask[box] & valid[box]
    labels = labels[counted]
    areas = np.bincount(labels)[1:]
    order = np.argsort(labels, kind="stable")
    return score_map[box][counted][order], areas[areas > 0].astype(np.uint32)


def overlap_area(
    fpr_above: NDArray[np.float64], fpr_at_or_above: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area that each anomalous pixel adds under a curve that ends at 1, up to the limit.

    Over the false positive rate, a pixel's part of the curve is 0 up to the rate a of the normal
    pixels above its score, rises in a straight line to 1 at the rate b of those at or above it
    (a tie is one step of the threshold), and stays there. Its area up to the limit L is
    L - (a + b) / 2, or (L - a)^2 / (2 (b - a)) where L cuts the rise, or 0 where a >= L. All are
    (n,) float64.
    """
    inside = np.maximum(FPR_LIMIT - fpr_above, 0.0)
    rise = fpr_at_or_above - fpr_above
    cut = fpr_at_or_above > FPR_LIMIT
    area = inside - 0.5 * rise
    area[cut] = inside[cut] ** 2 / (2.0 * rise[cut].clip(min=np.finfo(np.float64).tiny))
    return area
