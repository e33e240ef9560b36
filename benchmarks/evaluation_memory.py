"""Peak memory and time of the exact pixel figures, beside scikit-learn on the same maps.

Each side runs in a process of its own, so that one side's peak is not the other's. The figures
of this project include AUPRO and both curves; scikit-learn has no AUPRO and computes AUROC, AP
and the precision-recall curve for F1-max. Making the maps is not part of either time, nor is
their memory: they are made one at a time, and scikit-learn's own input array is counted, since
its functions need all scores at once.

    python benchmarks/evaluation_memory.py --maps 1700 --reference-maps 1700 --out bench.json
"""

import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from omnial.metrics.pixels import PixelFigures

Row = dict[str, float]


def synthetic_map(index: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A random score map in 0..1 and its mask: one in two has a square defect of up to 1/4 edge."""
    rng = np.random.default_rng(index)
    score_map = rng.random((size, size), dtype=np.float32)
    mask = np.zeros((size, size), dtype=np.bool_)
    if index % 2:
        edge = int(rng.integers(1, size // 4))
        top, left = rng.integers(0, size - edge, 2)
        mask[top : top + edge, left : left + edge] = True
        score_map[mask] = np.sqrt(score_map[mask])
    return score_map, mask


def measure_omnial(maps: int, size: int) -> Row:
    before, seconds = _peak_bytes(), 0.0
    figures = PixelFigures({"good": (maps + 1) // 2, "square": maps // 2}, size * size)
    for index in range(maps):
        score_map, mask = synthetic_map(index, size)
        start = time.perf_counter()
        figures.add("square" if index % 2 else "good", score_map, mask if index % 2 else None)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    found = figures.finish().figures
    seconds += time.perf_counter() - start
    row = {name: value for name, value in found.items() if value is not None}
    return {"seconds": seconds, "bytes": _peak_bytes() - before, **row}


def measure_scikit_learn(maps: int, size: int) -> Row:
    before, seconds = _peak_bytes(), 0.0
    scores = np.empty((maps, size, size), dtype=np.float32)
    labels = np.empty((maps, size, size), dtype=np.bool_)
    for index in range(maps):
        scores[index], labels[index] = synthetic_map(index, size)
    start = time.perf_counter()
    auroc = roc_auc_score(labels.ravel(), scores.ravel())
    ap = average_precision_score(labels.ravel(), scores.ravel())
    precision, recall, _ = precision_recall_curve(labels.ravel(), scores.ravel())
    f1_max = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    seconds = time.perf_counter() - start
    row = {"pixel_auroc": float(auroc), "pixel_ap": float(ap), "pixel_f1_max": float(f1_max)}
    return {"seconds": seconds, "bytes": _peak_bytes() - before, **row}


def main(
    maps: Annotated[int, typer.Option(help="Score maps to evaluate.")] = 1700,
    reference_maps: Annotated[
        int, typer.Option(help="Score maps that scikit-learn gets; 0 leaves it out.")
    ] = 425,
    size: Annotated[int, typer.Option(help="Edge of a map in pixels.")] = 256,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    context = multiprocessing.get_context("spawn")
    rows: list[tuple[str, int, Row]] = []
    jobs = [("omnial", measure_omnial, maps)]
    if reference_maps:
        jobs.append(("scikit-learn", measure_scikit_learn, reference_maps))
        if reference_maps != maps:
            jobs.append(("omnial", measure_omnial, reference_maps))
    for name, function, count in jobs:
        with context.Pool(1) as pool:
            rows.append((name, count, pool.apply(function, (count, size))))
    _print(rows, size)
    if out is not None:
        command = f"python benchmarks/evaluation_memory.py --maps {maps} --size {size}"
        command += f" --reference-maps {reference_maps}"
        values = {
            f"evaluation_{name}_{count}_maps_{key}": {
                "value": row[key],
                "unit": "s" if key == "seconds" else "bytes",
                "command": command,
            }
            for name, count, row in rows
            for key in ("seconds", "bytes")
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _print(rows: list[tuple[str, int, Row]], size: int) -> None:
    table = Table(title=f"Pixel figures of {size} x {size} maps")
    columns = ("maps", "seconds", "peak MB", "bytes a pixel", "MB beside 4 bytes a pixel")
    figures = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
    table.add_column("")
    for column in (*columns, *figures):
        table.add_column(column, justify="right")
    for name, maps, row in rows:
        pixels = maps * size * size
        table.add_row(
            name,
            str(maps),
            f"{row['seconds']:.2f}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['bytes'] / pixels:.2f}",
            f"{(row['bytes'] - 4 * pixels) / 1e6:.0f}",
            *(f"{row[key]:.9f}" if key in row else "-" for key in figures),
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
