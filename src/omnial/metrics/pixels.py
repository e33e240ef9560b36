"""Exact pixel figures of one class.

Every figure is a sum over the anomalous pixels, of a term that needs only the ranks of the pixel's
score among the normal and the anomalous ones. Each kind's scores are sorted once, and a class's
ranks are the sums of its kinds', so that kinds and class share one set of scores.

AUPRO is the area under the per-region overlap curve. The overlap of a threshold is the mean over
all ground-truth regions of the share of the region that is called anomalous (Bergmann et al., MVTec
AD, IJCV 2021, section 5.2); the curve runs over the false positive rate of all normal pixels, up to
0.3, and its area is divided by 0.3. Each anomalous pixel lifts it by 1 / (regions x pixels of its
region) where the threshold passes its score, so that the area is a plain sum over pixels.

Memory: some 4 bytes a normal pixel, 12 an anomalous one, and 32 of one kind's for a moment.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from omnial.data.records import GOOD
from omnial.metrics.ranking import Counts, Curve, f1, pr_curve, roc_curve

FPR_LIMIT: Final = 0.3
"""The overlap curve is integrated from a false positive rate of 0 to this one."""
_PIECE = 1 << 19
"""Anomalous pixels that are ranked at once."""
_CURVE_SAMPLES: Final = 2000

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]
_Ranks = tuple[NDArray[np.int64], NDArray[np.int64]]


class PixelSummary(NamedTuple):
    """The pixel figures of one class."""

    figures: dict[str, float | None]
    """`pixel_auroc`, `pixel_ap`, `pixel_f1_max` and `aupro` over all kinds; None where there are no
    anomalous or no normal pixels."""
    kinds: dict[str, dict[str, float | None]]
    """The same for each defect kind, with the normal pixels of its own and of the good images."""
    curves: dict[str, Curve]
    """`pixel_roc` and `pixel_pr` over all kinds, where they exist."""


class PixelFigures:
    """Collects the score maps of one class, then ranks their pixels.

    The pixels of the kind `good`, the defect-free images, count for every other kind.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, _Collected] = {}

    def add(
        self, kind: str, score_map: Scores, mask: Mask | None = None, valid: Mask | None = None
    ) -> None:
        """Add one image's pixels: scores, defects (None: none), and what counts (None: all).

        All are (H, W); a score is any finite value, higher is more anomalous. A ValueError says
        that one is not finite, or that shapes differ.
        """
        score_map = np.asarray(score_map, np.float32)  # an engine's own may be of another type
        for other in (mask, valid):
            if other is not None and other.shape != score_map.shape:
                raise ValueError(f"a score map {score_map.shape} came with a mask {other.shape}")
        if not np.isfinite(score_map).all():
            raise ValueError("a pixel score is not finite")
        collected = self._kinds.setdefault(kind, _Collected())
        kept = valid if mask is None else ~mask if valid is None else valid & ~mask
        normal = score_map if kept is None else score_map[kept]
        collected.normal.frombytes(normal.tobytes())
        if mask is not None and mask.any():
            anomalous, areas = _scores_by_region(score_map, mask, valid)
            collected.anomalous.frombytes(anomalous.tobytes())
            collected.areas.frombytes(areas.tobytes())

    def finish(self) -> PixelSummary:
        """Rank everything that was added. The scores are released: call this once."""
        kinds = {kind: _Kind.of(self._kinds.pop(kind)) for kind in list(self._kinds)}
        # Most of the figures' time. NumPy leaves the interpreter free while it sorts.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(np.ndarray.sort, [kind.normal for kind in kinds.values()]))
        good, whole = [kinds[GOOD]] if GOOD in kinds else [], list(kinds.values())
        figures = {name: _figures([kind, *good]) for name, kind in kinds.items() if name != GOOD}
        return PixelSummary(_figures(whole), figures, _curves(whole))


@dataclass
class _Collected:
    """The pixels of one kind, in arrays that grow where they lie."""

    normal: "array[float]" = field(default_factory=lambda: array("f"))
    anomalous: "array[float]" = field(default_factory=lambda: array("f"))
    areas: "array[int]" = field(default_factory=lambda: array("q"))
    """Pixels of each ground-truth region, in the order of the anomalous scores."""


class _Kind(NamedTuple):
    """The pixels of one kind."""

    normal: Scores
    """Ascending once they are sorted."""
    anomalous: Scores
    """Ascending."""
    weights: NDArray[np.float64]
    """Of each anomalous pixel: one over the pixels of its region."""
    regions: int

    @classmethod
    def of(cls, collected: _Collected) -> "_Kind":
        """From what was collected; nothing but the anomalous scores is sorted."""
        normal, anomalous = np.asarray(collected.normal), np.asarray(collected.anomalous)
        areas = np.asarray(collected.areas)
        order = np.argsort(anomalous)
        weights = np.repeat(1.0 / areas, areas)[order]
        return cls(normal, anomalous[order], weights, areas.size)

    def pieces(self) -> Iterator[tuple[Scores, NDArray[np.float64]]]:
        """The anomalous pixels piece by piece, scores and weights."""
        for start in range(0, self.anomalous.size, _PIECE):
            piece = slice(start, start + _PIECE)
            yield self.anomalous[piece], self.weights[piece]


def _scores_by_region(
    score_map: Scores, mask: Mask, valid: Mask | None
) -> tuple[Scores, NDArray[np.int64]]:
    """The anomalous pixels of one image, region after region.

    Regions are 8-connected in the whole mask: what lies outside `valid` is then dropped, so that
    a region of interest which cuts a defect in two does not make two defects of it.

    All are (H, W). Returns the scores of the n counted anomalous pixels, (n,) float32, and how many
    of them each of the r regions has, (r,) int64, none zero.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, _ = ndimage.label(mask[box], structure=np.ones((3, 3), np.bool_))
    counted = mask[box] if valid is None else mask[box] & valid[box]
    labels = labels[counted]
    areas = np.bincount(labels)[1:]
    order = np.argsort(labels, kind="stable")
    return score_map[box][counted][order], areas[areas > 0]


def _overlap_area(
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


def _figures(kinds: Collection[_Kind]) -> dict[str, float | None]:
    """The four pixel figures of a class, or of one kind with the good images."""
    positives, negatives = sum(k.anomalous.size for k in kinds), sum(k.normal.size for k in kinds)
    if not positives or not negatives:
        return dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"))
    twice_area, precision, best_f1, overlap = 0, 0.0, 0.0, 0.0
    for kind in kinds:
        for scores, weights in kind.pieces():
            above, at_or_above = _ranks((k.normal for k in kinds), scores)
            _, true = _ranks((k.anomalous for k in kinds), scores)
            twice_area += int(np.sum(2 * negatives - above - at_or_above))
            precision += float(np.sum(true / (true + at_or_above)))
            best_f1 = max(best_f1, float(np.max(f1(true, at_or_above, positives))))
            area = _overlap_area(above / negatives, at_or_above / negatives)
            overlap += float(np.dot(weights, area))
    return {
        "pixel_auroc": twice_area / (2 * positives * negatives),
        "pixel_ap": precision / positives,
        "pixel_f1_max": best_f1,
        "aupro": overlap / (sum(k.regions for k in kinds) * FPR_LIMIT),
    }


def _curves(kinds: Collection[_Kind]) -> dict[str, Curve]:
    """Exact points of both curves, at scores spread evenly over the ranks of every kind."""
    normal, anomalous = [k.normal for k in kinds], [k.anomalous for k in kinds]
    if not any(map(len, normal)) or not any(map(len, anomalous)):
        return {}
    picked = [
        scores[np.linspace(0, scores.size - 1, min(scores.size, _CURVE_SAMPLES)).astype(np.int64)]
        for scores in (*normal, *anomalous)
    ]
    thresholds = np.unique(np.concatenate(picked))
    counts = Counts(_ranks(anomalous, thresholds)[1][::-1], _ranks(normal, thresholds)[1][::-1])
    return {"pixel_roc": roc_curve(counts), "pixel_pr": pr_curve(counts)}


def _ranks(parts: Iterable[Scores], scores: Scores) -> _Ranks:
    """How many of all sorted parts' values lie strictly above, and at or above, each score."""
    above, at_or_above = np.zeros((2, scores.size), dtype=np.int64)
    for part in parts:
        above += part.size - np.searchsorted(part, scores, side="right")
        at_or_above += part.size - np.searchsorted(part, scores, side="left")
    return above, at_or_above
