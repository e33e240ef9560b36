"""Exact pixel figures of one class, in 4 bytes a pixel.

Scores are kept as float32 in one buffer a defect kind, normal pixels from its left end and
anomalous pixels from its right end, so that a label costs nothing. The buffers are sorted where
they lie, in runs, on all cores or on a GPU. Every figure is then a sum over the anomalous pixels,
of a term that needs only the ranks of the pixel's score: they are looked up in bounded pieces, and
a class's ranks are the sums of its runs' ranks, so that kinds and class share one set of buffers.

AUPRO is the area under the per-region overlap curve. The overlap of a threshold is the mean over
all ground-truth regions of the share of the region that is called anomalous (Bergmann et al., MVTec
AD, IJCV 2021, section 5.2); the curve runs over the false positive rate of all normal pixels, up to
0.3, and its area is divided by 0.3. Each anomalous pixel lifts it by 1 / (regions x pixels of its
region) where the threshold passes its score, so that the area is a plain sum over pixels.

Memory: 4 bytes a counted pixel, 4 bytes a ground-truth region, and some 100 MB more, of which a
part grows with the size of a single image.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from omnial.data.records import GOOD
from omnial.metrics.ranking import Counts, Curve, f1, pr_curve, roc_curve

RUN = 1 << 24
"""Most scores that are sorted as one. Cores share the runs, and a GPU needs memory for one."""
_PIECE = 1 << 19
_CURVE_SAMPLES = 2000

FPR_LIMIT = 0.3
"""The overlap curve is integrated from a false positive rate of 0 to this one."""

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]
_Pixels = Mask | None
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

    Args:
        pixels: Largest number of pixels of each kind's score maps; memory is taken as maps come.
        device: Where scores are sorted; None is the host. The figures are the same to the last bit.

    The pixels of the kind `good`, the defect-free images, count for every other kind.
    """

    def __init__(self, pixels: Mapping[str, int], device: torch.device | None = None) -> None:
        self._device = device
        self._segments = {
            kind: _Segment(np.empty(count, dtype=np.float32)) for kind, count in pixels.items()
        }

    def add(
        self, kind: str, score_map: Scores | Tensor, mask: _Pixels = None, valid: _Pixels = None
    ) -> None:
        """Add one image's pixels: scores, defects (None: none), and what counts (None: all).

        All are (H, W); a score is any finite value, higher is more anomalous. A ValueError says
        that one is not finite, shapes differ, the kind is unknown, or more pixels come than were
        announced.
        """
        if kind not in self._segments:
            raise ValueError(f"no pixels were announced for the kind {kind!r}")
        if isinstance(score_map, Tensor):
            score_map = score_map.detach().float().cpu().numpy()
        values = np.asarray(score_map, dtype=np.float32)
        for other in (mask, valid):
            if other is not None and other.shape != values.shape:
                raise ValueError(f"a score map {values.shape} came with a mask {other.shape}")
        if not np.isfinite(values).all():
            raise ValueError("a pixel score is not finite")
        self._segments[kind].add(values, mask, valid)

    def finish(self) -> PixelSummary:
        """Rank everything that was added. The buffers are released: call this once."""
        segments, self._segments = self._segments, {}
        groups = {
            kind: [segment, *(s for name, s in segments.items() if name == GOOD)]
            for kind, segment in segments.items()
            if kind != GOOD
        }
        whole = list(segments.values())
        _sort_each([run for segment in whole for run in segment.normal], self._device)
        # Overlap first: sorting the anomalous pixels forgets which region they belong to.
        overlaps = {kind: _aupro(group) for kind, group in groups.items()}
        aupro = _aupro(whole)
        _sort_each([run for segment in whole for run in segment.anomalous], self._device)
        kinds = {kind: _figures(group, overlaps[kind]) for kind, group in groups.items()}
        return PixelSummary(_figures(whole, aupro), kinds, _curves(whole))


@dataclass
class _Segment:
    """The pixels of one kind: normal ones from the left of the buffer, anomalous from the right."""

    buffer: Scores
    normals: int = 0
    anomalies: int = 0
    areas: list[NDArray[np.uint32]] = field(default_factory=lambda: [np.empty(0, np.uint32)])
    """Pixels of each ground-truth region, an array an image."""

    @property
    def regions(self) -> int:
        return sum(areas.size for areas in self.areas)

    @property
    def normal(self) -> list[Scores]:
        return _runs(self.buffer[: self.normals])

    @property
    def anomalous(self) -> list[Scores]:
        """Views of the anomalous scores, run by run, the regions of the last image first."""
        return _runs(self.buffer[self.buffer.size - self.anomalies :])

    def add(self, score_map: Scores, mask: _Pixels, valid: _Pixels) -> None:
        kept = valid if mask is None else ~mask if valid is None else valid & ~mask
        normal = score_map.ravel() if kept is None else score_map[kept]
        anomalous, areas = _scores_by_region(score_map, mask, valid)
        right = self.buffer.size - self.anomalies
        if normal.size + anomalous.size > right - self.normals:
            raise ValueError("more pixels came than were announced")
        self.buffer[self.normals : self.normals + normal.size] = normal
        self.buffer[right - anomalous.size : right] = anomalous
        self.normals += normal.size
        self.anomalies += anomalous.size
        self.areas.append(areas)

    def pieces_with_weights(self) -> Iterator[tuple[Scores, NDArray[np.float64]]]:
        """Pieces of the unsorted anomalous scores: ascending within a piece, 1 / region pixels."""
        scores = self.buffer[self.buffer.size - self.anomalies :]
        areas = np.concatenate(self.areas[::-1])
        ends = np.cumsum(areas, dtype=np.int64)
        for start in range(0, scores.size, _PIECE):
            piece = scores[start : start + _PIECE]
            region = np.searchsorted(ends, np.arange(start, start + piece.size), side="right")
            order = np.argsort(piece)
            yield piece[order], 1.0 / areas[region[order]]

    def pieces_with_repeats(self) -> Iterator[tuple[Scores, NDArray[np.int64]]]:
        """Pieces of the sorted anomalous scores: distinct scores of a piece, how often each."""
        for run in self.anomalous:
            for start in range(0, run.size, _PIECE):
                scores = run[start : start + _PIECE]
                firsts = np.append(0, np.flatnonzero(scores[1:] != scores[:-1]) + 1)
                yield scores[firsts], np.diff(firsts, append=scores.size)


def _scores_by_region(
    score_map: Scores, mask: _Pixels, valid: _Pixels
) -> tuple[Scores, NDArray[np.uint32]]:
    """The anomalous pixels of one image, region after region.

    Regions are 8-connected in the whole mask: what lies outside `valid` is then dropped, so that
    a region of interest which cuts a defect in two does not make two defects of it.

    All are (H, W). Returns the scores of the n counted anomalous pixels, (n,) float32, and how many
    of them each of the r regions has, (r,) uint32, none zero.
    """
    if mask is None or not mask.any():
        return np.empty(0, np.float32), np.empty(0, np.uint32)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, _ = ndimage.label(mask[box], structure=np.ones((3, 3), np.bool_))
    counted = mask[box] if valid is None else mask[box] & valid[box]
    labels = labels[counted]
    areas = np.bincount(labels)[1:]
    order = np.argsort(labels, kind="stable")
    return score_map[box][counted][order], areas[areas > 0].astype(np.uint32)


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


def _aupro(segments: Collection[_Segment]) -> float | None:
    """AUPRO of anomalous scores that are not sorted yet; None without anomalous or normal ones."""
    negatives, regions = sum(s.normals for s in segments), sum(s.regions for s in segments)
    if not negatives or not regions:
        return None
    overlap = 0.0
    for segment in segments:
        for scores, weights in segment.pieces_with_weights():
            above, at_or_above = _ranks((run for s in segments for run in s.normal), scores)
            area = _overlap_area(above / negatives, at_or_above / negatives)
            overlap += float(np.dot(weights, area))
    return overlap / (regions * FPR_LIMIT)


def _figures(segments: Collection[_Segment], aupro: float | None) -> dict[str, float | None]:
    """The four pixel figures of sorted segments: of a class, or of one kind with the good ones."""
    positives, negatives = sum(s.anomalies for s in segments), sum(s.normals for s in segments)
    if not positives or not negatives:
        return dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"))
    twice_area, precision, best_f1 = 0, 0.0, 0.0
    for segment in segments:
        for scores, repeats in segment.pieces_with_repeats():
            above, at_or_above = _ranks((run for s in segments for run in s.normal), scores)
            _, true = _ranks((run for s in segments for run in s.anomalous), scores)
            twice_area += int(np.dot(repeats, 2 * negatives - above - at_or_above))
            precision += float(np.dot(repeats, true / (true + at_or_above)))
            best_f1 = max(best_f1, float(np.max(f1(true, at_or_above, positives))))
    return {
        "pixel_auroc": twice_area / (2 * positives * negatives),
        "pixel_ap": precision / positives,
        "pixel_f1_max": best_f1,
        "aupro": aupro,
    }


def _curves(segments: Collection[_Segment]) -> dict[str, Curve]:
    """Exact points of both curves, at scores spread evenly over the ranks of every run."""
    normal = [run for segment in segments for run in segment.normal]
    anomalous = [run for segment in segments for run in segment.anomalous]
    if not normal or not anomalous:
        return {}
    picked = [
        run[np.linspace(0, run.size - 1, min(run.size, _CURVE_SAMPLES)).astype(np.int64)]
        for run in (*normal, *anomalous)
    ]
    thresholds = np.unique(np.concatenate(picked))
    counts = Counts(_ranks(anomalous, thresholds)[1][::-1], _ranks(normal, thresholds)[1][::-1])
    return {"pixel_roc": roc_curve(counts), "pixel_pr": pr_curve(counts)}


def _runs(values: Scores) -> list[Scores]:
    """Views of (n,) values, at most `RUN` each; none is empty."""
    return [values[start : start + RUN] for start in range(0, values.size, RUN)]


def _sort_each(parts: Iterable[Scores], device: torch.device | None) -> None:
    """Sort parts of (n,) scores where they lie, ascending: on the host's cores or on a GPU.

    Sorting takes six sevenths of the figures' time on one core. NumPy sorts in place, with vector
    instructions; PyTorch's sort takes three times as long on the host, and 15 bytes and more a
    value on top.
    """
    if device is not None:
        for part in parts:
            part[:] = torch.from_numpy(part).to(device).sort().values.cpu().numpy()
        return
    # NumPy leaves the interpreter free while it sorts.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(np.ndarray.sort, parts))


def _ranks(sorted_runs: Iterable[Scores], scores: Scores) -> _Ranks:
    """How many of all runs' values lie strictly above, and at or above, each ascending score."""
    above, at_or_above = np.zeros((2, scores.size), dtype=np.int64)
    for run in sorted_runs:
        # Neighbouring scores fall into a narrow window of the values, which the caches hold.
        start = int(np.searchsorted(run, scores[0], side="left"))
        stop = int(np.searchsorted(run, scores[-1], side="right"))
        window = run[start:stop]
        below = np.searchsorted(window, scores, side="left")
        reached = run.size - start - below
        at_or_above += reached
        above += reached
        if window.size:
            tied = np.flatnonzero(window[np.minimum(below, window.size - 1)] == scores)
            not_above = np.searchsorted(window, scores[tied], side="right")
            above[tied] -= not_above - below[tied]
    return above, at_or_above
