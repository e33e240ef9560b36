"""Time and peak memory of the exact pixel figures, next to scikit-learn on the same maps.

Each side runs in a process of its own, so that one side's peak is not the other's. This project's
side computes all its figures, AUROC, AP, F1-max, AUPRO and both curves; scikit-learn's computes
AUROC and AP. Making the maps is not part of either time, nor is their memory: they are made one
at a time, and scikit-learn's own input array is counted, since its functions need all scores at
once. AUPRO is held against the usual loop over thresholds.

    python -m benchmarks.pixel_metrics --maps 1725
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.common import Entries, entries, forget_peak, in_own_process, peak_bytes, report
from omnial.metrics.pixels import PixelFigures

Row = dict[str, float]
Maps = list[tuple[NDArray[np.float32], NDArray[np.bool_]]]

_FPR_LIMIT = 0.3


def synthetic_map(index: int, edge: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A random score map in 0..1 and its mask: one in two has a square defect of up to 1/4 edge."""
    rng = np.random.default_rng(index)
    score_map = rng.random((edge, edge), dtype=np.float32)
    mask = np.zeros((edge, edge), dtype=np.bool_)
    if index % 2:
        side = int(rng.integers(1, edge // 4))
        top, left = rng.integers(0, edge - side, 2)
        mask[top : top + side, left : left + side] = True
        score_map[mask] = np.sqrt(score_map[mask])
    return score_map, mask


def measure_ours(maps: int, edge: int) -> Row:
    """Our figures, with the seconds and bytes they took."""
    before = forget_peak()
    # What is set up once belongs to the memory, but not to the time.
    _our_figures(2, edge)
    seconds, figures = _our_figures(maps, edge)
    return {"seconds": seconds, "bytes": peak_bytes() - before, **figures}


def _our_figures(maps: int, edge: int) -> tuple[float, Row]:
    seconds = 0.0
    figures = PixelFigures()
    for index in range(maps):
        score_map, mask = synthetic_map(index, edge)
        start = time.perf_counter()
        figures.add("square" if index % 2 else "good", score_map, mask if index % 2 else None)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    found = figures.finish().figures
    seconds += time.perf_counter() - start
    return seconds, {name: value for name, value in found.items() if value is not None}


def measure_scikit_learn(maps: int, edge: int) -> Row:
    """scikit-learn's figures, with the seconds and bytes they took."""
    before = forget_peak()
    scores = np.empty((maps, edge, edge), dtype=np.float32)
    labels = np.empty((maps, edge, edge), dtype=np.bool_)
    for index in range(maps):
        scores[index], labels[index] = synthetic_map(index, edge)
    start = time.perf_counter()
    auroc = roc_auc_score(labels.ravel(), scores.ravel())
    ap = average_precision_score(labels.ravel(), scores.ravel())
    seconds = time.perf_counter() - start
    figures = {"pixel_auroc": float(auroc), "pixel_ap": float(ap)}
    return {"seconds": seconds, "bytes": peak_bytes() - before, **figures}


def naive_aupro(maps: Maps, thresholds: int) -> float:
    """AUPRO by its definition: a loop over thresholds, images and regions, and a trapezoid rule."""
    labelled = [ndimage.label(mask, np.ones((3, 3))) for _, mask in maps]
    normal = sum(int((~mask).sum()) for _, mask in maps)
    scores = np.concatenate([score_map.ravel() for score_map, _ in maps])
    fprs, overlaps = [0.0], [0.0]
    for threshold in np.quantile(scores, np.linspace(1, 0, thresholds), method="nearest"):
        false, shares = 0, []
        for (score_map, mask), (labels, regions) in zip(maps, labelled, strict=True):
            found = score_map >= threshold
            false += int((found & ~mask).sum())
            shares += [float(found[labels == r].mean()) for r in range(1, regions + 1)]
        fprs.append(false / normal)
        overlaps.append(float(np.mean(shares)))
    cut = float(np.interp(_FPR_LIMIT, fprs, overlaps))
    inside = [(x, y) for x, y in zip(fprs, overlaps, strict=True) if x < _FPR_LIMIT]
    x, y = np.array([*inside, (_FPR_LIMIT, cut)]).T
    return float(np.trapezoid(y, x) / _FPR_LIMIT)


def measure_naive_aupro(maps: int, edge: int, thresholds: int) -> Row:
    """The naive AUPRO, with the seconds it took."""
    drawn = [synthetic_map(index, edge) for index in range(maps)]
    start = time.perf_counter()
    value = naive_aupro(drawn, thresholds)
    return {"seconds": time.perf_counter() - start, "aupro": value}


def measure(
    maps: int = 1725, edge: int = 256, aupro_maps: int = 40, thresholds: int = 200
) -> Entries:
    """Ours over theirs, in time and memory; the naive AUPRO over ours, in time.

    Raises:
        ArithmeticError: The figures of the two sides differ, so that the times mean nothing.
    """
    ours = in_own_process(measure_ours, maps, edge)
    theirs = in_own_process(measure_scikit_learn, maps, edge)
    few = in_own_process(measure_ours, aupro_maps, edge)
    naive = in_own_process(measure_naive_aupro, aupro_maps, edge, thresholds)
    pairs = [(ours[key], theirs[key], 1e-6) for key in ("pixel_auroc", "pixel_ap")]
    pairs.append((few["aupro"], naive["aupro"], 1 / thresholds))
    if any(abs(a - b) > tolerance for a, b, tolerance in pairs):
        raise ArithmeticError(f"the figures differ: {pairs}")
    figures = {
        "pixel_metrics_time_vs_sklearn": (ours["seconds"] / theirs["seconds"], "ratio"),
        "pixel_metrics_memory_vs_sklearn": (ours["bytes"] / theirs["bytes"], "ratio"),
        "pixel_metrics_bytes_per_pixel": (ours["bytes"] / (maps * edge**2), "bytes"),
        "pixel_metrics_time_per_map": (1e3 * ours["seconds"] / maps, "ms"),
        "aupro_vs_naive": (naive["seconds"] / few["seconds"], "ratio"),
    }
    command = f"python -m benchmarks.pixel_metrics --maps {maps} --edge {edge}"
    command += f" --aupro-maps {aupro_maps} --thresholds {thresholds}"
    return entries(command, figures)


def main(
    maps: Annotated[int, typer.Option(help="Score maps for both sides.")] = 1725,
    edge: Annotated[int, typer.Option(help="Edge of a map in pixels.")] = 256,
    aupro_maps: Annotated[int, typer.Option(help="Score maps for the naive AUPRO.")] = 40,
    thresholds: Annotated[int, typer.Option(help="Thresholds of the naive AUPRO.")] = 200,
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    found = measure(20, 64, 10, 200) if quick else measure(maps, edge, aupro_maps, thresholds)
    report("Pixel figures", found, out)


if __name__ == "__main__":
    typer.run(main)
