"""What an image of an archive costs: one process, and Ray with one worker and with two.

Every engine has one thread. They take turns over the same drawn archive, round after round, and
are compared within the rounds. A speed is that of the steady state: from the moment that every
worker has given back its first part to the last part, without the start of Ray and the opening
of the model, which a long run forgets. The processor time of a part holds decoding, network,
outlines and writing, and swings less on a busy machine than the clock does.

    python -m benchmarks.archive --images 192
    python -m benchmarks.archive --images 192 --model EXPORT_DIR
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common import Entries, entries, ratio, report
from omnial.batch.archive import (
    LISTING_FILE,
    PREDICTIONS,
    Assignment,
    Engine,
    PartResult,
    in_this_process,
    inspect_archive,
)
from omnial.batch.on_ray import OnRay
from omnial.config.load import load_settings
from omnial.demo.production_line import generate
from omnial.inference.predictor import KINDS
from omnial.training.fit import train

_CLASSES = ("gear", "tile")
_KINDS_AND_GOOD = 4
_PART = 16


@dataclass(frozen=True)
class Run:
    """What one run over the archive took."""

    seconds: float
    """Per image, in the steady state."""
    core_seconds: float
    """Per image, likewise."""
    sizes: dict[str, float]
    """Bytes per image of what it wrote, by folder."""


def prepare(folder: Path, images: int, edge: int, size: str) -> None:
    """Draw the archive into `data`, and train into `model`, which costs as any other does."""
    each = max(1, images // (len(_CLASSES) * _KINDS_AND_GOOD))
    generate(
        *(folder / "data",),
        seed=0,
        classes=_CLASSES,
        size=edge,
        train=6,
        test_good=each,
        per_kind=each,
    )
    overrides = ["training.steps=2", "training.batch_size=2", "training.precision=fp32"]
    overrides += ["training.accelerator=cpu", "data.cache_gigabytes=0"]
    settings = load_settings(size=size, overrides=overrides)
    train(settings, [folder / "data"], folder / "model", progress=False)


def archive_of(folder: Path) -> list[Path]:
    """The test images, without their masks."""
    return sorted(folder / "data" / name / "test" for name in _CLASSES)


def run(model: Path, paths: list[Path], engine: Engine, workers: int, pictures: bool) -> Run:
    """Inspect the archive once, with one thread a worker."""
    results: list[tuple[float, PartResult]] = []

    def noting(assignment: Assignment, parts: Sequence[int]) -> Iterator[PartResult]:
        for result in engine(assignment, parts):
            results.append((time.perf_counter(), result))
            yield result

    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        summary = inspect_archive(
            *(model, paths, out),
            engine=noting,
            part_images=_PART,
            pictures=pictures,
            device="cpu",
            threads=1,
        )
        sizes = {
            kind: _bytes_in(out / kind) / summary.n_images
            for kind in (PREDICTIONS, *KINDS, LISTING_FILE)
        }
    begun = _index_of_last_first(results, workers)
    steady = [result for _, result in results[begun + 1 :]]
    images = sum(result.images for result in steady)
    seconds = results[-1][0] - results[begun][0]
    return Run(seconds / images, sum(one.core_seconds for one in steady) / images, sizes)


def _index_of_last_first(results: list[tuple[float, PartResult]], workers: int) -> int:
    """Where every worker has given back a part, its slow first one."""
    seen: set[str] = set()
    for index, (_, result) in enumerate(results):
        seen.add(result.worker)
        if len(seen) == workers:
            return index
    raise RuntimeError(f"only {len(seen)} of {workers} workers did anything: take more --images")


def _bytes_in(folder: Path) -> int:
    files = [folder] if folder.is_file() else folder.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


@contextmanager
def _cluster(workers: int) -> Iterator[None]:
    """One cluster for all rounds."""
    import ray

    # Ray gives its workers a nice value of 15; on a busy machine that would be what is compared.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # its name is spelt so
    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def measure(
    images: int, edge: int, size: str, rounds: int, workers: int = 2, model: Path | None = None
) -> Entries:
    """The figures of one model; `workers` is the larger of the two pools."""
    engines: dict[str, tuple[Engine, int, bool]] = {
        "one_process": (in_this_process, 1, False),
        "with_pictures": (in_this_process, 1, True),
        "ray_1": (OnRay(1), 1, False),
        f"ray_{workers}": (OnRay(workers), workers, False),
    }
    with tempfile.TemporaryDirectory() as name, _cluster(workers):
        folder = Path(name)
        prepare(folder, images, edge, size)
        paths = archive_of(folder)
        read = statistics.mean(path.stat().st_size for one in paths for path in one.rglob("*.png"))
        shutil.rmtree(folder / "model" / "checkpoints", ignore_errors=True)
        runs: dict[str, list[Run]] = {kind: [] for kind in engines}
        for _ in range(rounds):
            for kind, (engine, count, pictures) in engines.items():
                runs[kind].append(run(model or folder / "model", paths, engine, count, pictures))
    seconds = {kind: [one.seconds for one in found] for kind, found in runs.items()}
    cores = {kind: [one.core_seconds for one in found] for kind, found in runs.items()}
    base, many = "one_process", f"ray_{workers}"
    sizes = runs["with_pictures"][0].sizes
    figures = {
        "archive_core_time_per_image": (1000 * statistics.median(cores[base]), "core-ms"),
        "archive_time_per_image": (1000 * statistics.median(seconds[base]), "ms"),
        "archive_ray_1_speed_vs_one_process": (ratio(seconds[base], seconds["ray_1"]), "ratio"),
        f"archive_{many}_speed_vs_ray_1": (ratio(seconds["ray_1"], seconds[many]), "ratio"),
        f"archive_{many}_speed_vs_one_process": (ratio(seconds[base], seconds[many]), "ratio"),
        f"archive_{many}_core_time_vs_one_process": (ratio(cores[many], cores[base]), "ratio"),
        "archive_pictures_core_time_vs_none": (ratio(cores["with_pictures"], cores[base]), "ratio"),
        "archive_bytes_read_per_image": (read, "bytes"),
        "archive_bytes_of_rows_per_image": (sizes[PREDICTIONS], "bytes"),
        "archive_bytes_of_listing_per_image": (sizes[LISTING_FILE], "bytes"),
        "archive_bytes_of_pictures_per_image": (sum(sizes[kind] for kind in KINDS), "bytes"),
    }
    command = f"python -m benchmarks.archive --images {images} --edge {edge} --size {size}"
    return entries(f"{command} --rounds {rounds}{' --model EXPORT_DIR' if model else ''}", figures)


def main(
    images: Annotated[int, typer.Option(help="Images of the archive.")] = 192,
    edge: Annotated[int, typer.Option(help="Edge of the files' images in pixels.")] = 256,
    size: Annotated[str, typer.Option(help="Size of the model.")] = "lite",
    rounds: Annotated[int, typer.Option(help="Rounds of timing.")] = 3,
    model: Annotated[
        Path | None, typer.Option(help="A model or export folder, instead of one of that size.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    report("Archives", measure(images, edge, size, rounds, model=model), out)


if __name__ == "__main__":
    typer.run(main)
