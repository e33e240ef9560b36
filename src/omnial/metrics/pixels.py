"""Exact pixel figures of one class, in 4 bytes a pixel.

Scores are kept as float32 in one buffer a defect kind, normal pixels from its left end and
anomalous pixels from its right end, so that a label costs nothing. The buffers are sorted where
they lie, in runs, on all cores or on a GPU. Every figure is then a sum over the anomalous pixels,
of a term that needs only the ranks of the pixel's score: they are looked up in bounded pieces, and
a class's ranks are the sums of its runs' ranks, so that kinds and class share one set of buffers.

Memory: 4 bytes a counted pixel, 4 bytes a ground-truth region, and some 100 MB more, of which a
part grows with the size of a single image.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.metrics.aupro import FPR_LIMIT, overlap_area, scores_by_region
from omnial.metrics.ranking import Counts, Curve, f1, pr_curve, roc_curve

RUN = 1 << 24
"""Most scores that are sorted as one. Cores share the runs, and a GPU needs memory for one."""
_PIECE = 1 << 19
_CURVE_SAMPLES = 2000

Ranks = tuple[NDArray[np.int64], NDArray[np.int64]]


class PixelSummary(NamedTuple):
    """The pixel figures of one class.

    Attributes:
        figures: `pixel_auroc`, `pixel_ap`, `pixel_f1_max` and `aupro` over all kinds; None where
            there are no anomalous or no normal pixels.
        kinds: The same for each defect kind, whose normal pixels are those of its own images and
            of the good ones.
        curves: `pixel_roc` and `pixel_pr` over all kinds, where they exist.
    """

    figures: dict[str, float | None]
    kinds: dict[str, dict[str, float | None]]
    curves: dict[str, Curve]


class PixelFigures:
    """Collects the score maps of one class, then ranks their pixels.

    Args:
        pixels: Largest number of pixels of each kind's score maps; their memory is taken as maps
            come in.
        device: Where scores are sorted, a GPU for example; None is the host. The figures are the
            same to the last bit.
        normal: The kind of the defect-free images, whose pixels count for every other kind.
    """

    def __init__(
        self, pixels: Mapping[str, int], device: torch.device | None = None, normal: str = "good"
    ) -> None:
        self._device, self._normal = device, normal
        self._segments = {
            kind: _Segment(np.empty(count, dtype=np.float32)) for kind, count in pixels.items()
        }

    def add(
        self,
        kind: str,
        score_map: NDArray[np.float32] | Tensor,
        mask: NDArray[np.bool_] | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add one image's pixels.

        Args:
            kind: One of the kinds given at the start.
            score_map: (H, W) float32, higher is more anomalous, any finite value.
            mask: (H, W) bool, the defects; None means that all pixels are normal.
            valid: (H, W) bool, the pixels that count; None means all.

        Raises:
            ValueError: A score is not finite, shapes differ, the kind is unknown, or more
                pixels come than were announced.
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
        _sort_each([run for s in segments.values() for run in s.normal], self._device)
        whole = _Tally(segments)
        kinds = {
            kind: _Tally({k: s for k, s in segments.items() if k in (kind, self._normal)})
            for kind in segments
            if kind != self._normal
        }
        tallies = {kind: [whole, kinds[kind]] if kind in kinds else [whole] for kind in segments}
        # Overlap first: sorting the anomalous pixels forgets which region they belong to.
        for kind, segment in segments.items():
            for scores, weights in segment.pieces_with_weights():
                normal = {name: _ranks(s.normal, scores) for name, s in segments.items()}
                for tally in tallies[kind]:
                    tally.add_overlap(normal, weights)
        _sort_each([run for s in segments.values() for run in s.anomalous], self._device)
        for kind, segment in segments.items():
            for scores, repeats in segment.pieces_with_repeats():
                normal = {name: _ranks(s.normal, scores) for name, s in segments.items()}
                anomalous = {name: _ranks(s.anomalous, scores) for name, s in segments.items()}
                for tally in tallies[kind]:
                    tally.add_ranks(normal, anomalous, repeats)
        figures = {kind: tally.figures() for kind, tally in kinds.items()}
        return PixelSummary(whole.figures(), figures, whole.curves())


@dataclass
class _Segment:
    """The pixels of one kind: normal ones from the left of the buffer, anomalous from the right."""

    buffer: NDArray[np.float32]
    normals: int = 0
    anomalies: int = 0
    areas: list[NDArray[np.uint32]] = field(default_factory=lambda: [np.empty(0, np.uint32)])
    """Pixels of each ground-truth region, an array an image."""

    @property
    def normal(self) -> list[NDArray[np.float32]]:
        """Views of the normal scores, run by run."""
        return _runs(self.buffer[: self.normals])

    @property
    def anomalous(self) -> list[NDArray[np.float32]]:
        """Views of the anomalous scores, run by run, the regions of the last image first."""
        return _runs(self.buffer[self.buffer.size - self.anomalies :])

    def add(
        self,
        score_map: NDArray[np.float32],
        mask: NDArray[np.bool_] | None,
        valid: NDArray[np.bool_] | None,
    ) -> None:
        """Copy the counted pixels of one image into the buffer."""
        kept = valid if mask is None else ~mask if valid is None else valid & ~mask
        normal = score_map.ravel() if kept is None else score_map[kept]
        anomalous, areas = np.empty(0, np.float32), np.empty(0, np.uint32)
        if mask is not None:
            anomalous, areas = scores_by_region(score_map, mask, valid)
        right = self.buffer.size - self.anomalies
        if normal.size + anomalous.size > right - self.normals:
            raise ValueError("more pixels came than were announced")
        self.buffer[self.normals : self.normals + normal.size] = normal
        self.buffer[right - anomalous.size : right] = anomalous
        self.normals += normal.size
        self.anomalies += anomalous.size
        self.areas.append(areas)

    def pieces_with_weights(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
        """Pieces of the unsorted anomalous scores: ascending within a piece, 1 / region pixels."""
        scores = self.buffer[self.buffer.size - self.anomalies :]
        areas = np.concatenate(self.areas[::-1])
        ends = np.cumsum(areas, dtype=np.int64)
        for start in range(0, scores.size, _PIECE):
            piece = scores[start : start + _PIECE]
            region = np.searchsorted(ends, np.arange(start, start + piece.size), side="right")
            order = np.argsort(piece)
            yield piece[order], 1.0 / areas[region[order]]

    def pieces_with_repeats(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Pieces of the sorted anomalous scores: distinct scores of a piece, how often each."""
        for run in self.anomalous:
            for start in range(0, run.size, _PIECE):
                scores = run[start : start + _PIECE]
                firsts = np.append(0, np.flatnonzero(scores[1:] != scores[:-1]) + 1)
                yield scores[firsts], np.diff(firsts, append=scores.size)


class _Tally:
    """The sums that the figures of some segments, a class or one kind of it, are made of."""

    def __init__(self, segments: Mapping[str, _Segment]) -> None:
        self._segments = segments
        self._positives = sum(segment.anomalies for segment in segments.values())
        self._negatives = sum(segment.normals for segment in segments.values())
        self._twice_area = 0
        self._precision = self._best_f1 = self._overlap = 0.0

    def add_overlap(self, normal: Mapping[str, Ranks], weights: NDArray[np.float64]) -> None:
        """Add anomalous scores: ranks in each segment, and 1 / pixels of each one's region."""
        if self._negatives:
            above, at_or_above = (rank / self._negatives for rank in self._total(normal))
            self._overlap += float(np.dot(weights, overlap_area(above, at_or_above)))

    def add_ranks(
        self,
        normal: Mapping[str, Ranks],
        anomalous: Mapping[str, Ranks],
        repeats: NDArray[np.int64],
    ) -> None:
        """Add distinct anomalous scores: ranks in each segment, and how often each occurs."""
        above, at_or_above = self._total(normal)
        _, true = self._total(anomalous)
        self._twice_area += int(np.dot(repeats, 2 * self._negatives - above - at_or_above))
        self._precision += float(np.dot(repeats, true / (true + at_or_above)))
        self._best_f1 = max(self._best_f1, float(np.max(f1(true, at_or_above, self._positives))))

    def figures(self) -> dict[str, float | None]:
        """The four pixel figures."""
        if not self._positives or not self._negatives:
            return dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"))
        regions = sum(areas.size for s in self._segments.values() for areas in s.areas)
        return {
            "pixel_auroc": self._twice_area / (2 * self._positives * self._negatives),
            "pixel_ap": self._precision / self._positives,
            "pixel_f1_max": self._best_f1,
            "aupro": self._overlap / (regions * FPR_LIMIT),
        }

    def curves(self) -> dict[str, Curve]:
        """Exact points of both curves, at scores spread evenly over the ranks of every run."""
        if not self._positives or not self._negatives:
            return {}
        picked = [
            run[np.linspace(0, run.size - 1, min(run.size, _CURVE_SAMPLES)).astype(np.int64)]
            for segment in self._segments.values()
            for run in (*segment.normal, *segment.anomalous)
        ]
        thresholds = np.unique(np.concatenate(picked))
        anomalous = {name: _ranks(s.anomalous, thresholds) for name, s in self._segments.items()}
        normal = {name: _ranks(s.normal, thresholds) for name, s in self._segments.items()}
        counts = Counts(self._total(anomalous)[1][::-1], self._total(normal)[1][::-1])
        return {"pixel_roc": roc_curve(counts), "pixel_pr": pr_curve(counts)}

    def _total(self, ranks: Mapping[str, Ranks]) -> Ranks:
        """The ranks in these segments together."""
        above, at_or_above = zip(*(ranks[name] for name in self._segments), strict=True)
        return np.sum(above, axis=0), np.sum(at_or_above, axis=0)


def _runs(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Views of (n,) values, at most `RUN` each; none is empty."""
    return [values[start : start + RUN] for start in range(0, values.size, RUN)]


def _sort_each(parts: Iterable[NDArray[np.float32]], device: torch.device | None) -> None:
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


def _ranks(sorted_runs: Iterable[NDArray[np.float32]], scores: NDArray[np.float32]) -> Ranks:
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
