"""What the cache of decoded images costs and saves: building the images of a training run.

Images of the generated production line are made a training run's store three ways: decoded
without the cache, decoded into an empty cache, and from a filled one. The files lie in the
system's page cache each time, so the times are those of computing, not of a disk. The ways take
turns; the fastest of the rounds counts, and the processor time next to the wall-clock time says
whether something else held the machine up. Next to it, check and store together, as `omnial train`
begins: without the cache, each file is decoded twice there.

    python benchmarks/input_cache.py --images 96 --size 512 --out bench.json
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from omnial.config.settings import DataSettings
from omnial.data.cache import LOCATION, open_cache
from omnial.data.checks import check_files
from omnial.data.dataset import load_dataset
from omnial.data.layouts import discover
from omnial.data.records import Catalogue
from omnial.demo.production_line import CLASS_NAMES, generate

IMAGES, SIZE, ROUNDS = 96, 512, 5
WAYS = ("without", "filling", "filled")
Seconds = dict[str, tuple[float, float]]
"""Wall-clock and processor seconds by way."""


def measure(
    images: int = IMAGES, size: int = SIZE, rounds: int = ROUNDS
) -> dict[str, dict[str, Any]]:
    """The figures by name: how much faster a filled cache is, and what filling it costs."""
    return figures(time_all(images, size, rounds)["store"], images, size, rounds)


def time_all(images: int, size: int, rounds: int) -> dict[str, Seconds]:
    """Seconds of each way, for the store alone and for check and store."""
    seconds: dict[str, dict[str, list[tuple[float, float]]]] = {
        work: {way: [] for way in WAYS} for work in ("store", "check and store")
    }
    with tempfile.TemporaryDirectory() as name:
        data = Path(name, "data")
        each = -(-images // len(CLASS_NAMES))
        generate(data, seed=0, size=size, train=each, test_good=0, per_kind=0)
        catalogue = discover([data], need="train")
        for number in range(rounds):
            for work, function in (("store", build), ("check and store", check_and_build)):
                folder = Path(name, f"{work} {number}")
                for way in WAYS:
                    seconds[work][way].append(_time(function, catalogue, folder, way))
    return {
        work: {way: _least(times) for way, times in ways.items()} for work, ways in seconds.items()
    }


def build(catalogue: Catalogue, settings: DataSettings) -> None:
    records = [record for product in catalogue.classes for record in product.train]
    load_dataset(records, catalogue, settings, open_cache(settings))


def check_and_build(catalogue: Catalogue, settings: DataSettings) -> None:
    cache = open_cache(settings)
    checked = check_files(catalogue, settings, cache=cache)
    records = [record for product in checked.classes for record in product.train]
    load_dataset(records, checked, settings, cache)


def figures(store: Seconds, images: int, size: int, rounds: int) -> dict[str, dict[str, Any]]:
    command = f"python benchmarks/input_cache.py --images {images} --size {size} --rounds {rounds}"
    values = {
        "input_cache_warm_vs_decode": store["without"][0] / store["filled"][0],
        "input_cache_fill_overhead": store["filling"][0] / store["without"][0],
    }
    return {
        name: {"value": value, "unit": "ratio", "command": command}
        for name, value in values.items()
    }


def main(
    images: Annotated[int, typer.Option(help="Images, over all products.")] = IMAGES,
    size: Annotated[int, typer.Option(help="Edge of the images in pixels.")] = SIZE,
    rounds: Annotated[int, typer.Option(help="Times that each way is measured.")] = ROUNDS,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    seconds = time_all(images, size, rounds)
    found = figures(seconds["store"], images, size, rounds)
    table = Table(title=f"{images} images of {size} x {size}: seconds by the state of the cache")
    table.add_column("")
    for way in WAYS:
        table.add_column(way, justify="right")
    for work, times in seconds.items():
        table.add_row(work, *(f"{times[way][0]:.2f}" for way in WAYS))
        table.add_row("  processor", *(f"{times[way][1]:.2f}" for way in WAYS))
    console = Console(width=100)
    console.print(table)
    for name, row in found.items():
        console.print(f"{name}: {row['value']:.2f}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _least(times: list[tuple[float, float]]) -> tuple[float, float]:
    return min(wall for wall, _ in times), min(processor for _, processor in times)


def _time(
    function: Callable[[Catalogue, DataSettings], None],
    catalogue: Catalogue,
    folder: Path,
    way: str,
) -> tuple[float, float]:
    """Wall-clock and processor seconds of one way, with the cache in a folder of its own."""
    settings = DataSettings(cache_gigabytes=0.0 if way == "without" else 4.0)
    before = os.environ.get(LOCATION)
    os.environ[LOCATION] = str(folder)
    try:
        wall, processor = time.perf_counter(), time.process_time()
        function(catalogue, settings)
        return time.perf_counter() - wall, time.process_time() - processor
    finally:
        if before is None:
            del os.environ[LOCATION]
        else:
            os.environ[LOCATION] = before


if __name__ == "__main__":
    typer.run(main)
