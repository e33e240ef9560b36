"""How time and memory grow with the batch, the image, the classes and the number of images.

Each figure is the exponent of a power law through a few sizes: 1 means that twice the size costs
twice as much, and anything well above 1 would break down on a large data set. Parts that do not
depend on the size, such as what a library needs to start, pull an exponent below 1.

    python -m benchmarks.growth --rounds 5
"""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, cast

import torch
import typer

from benchmarks.common import (
    Entries,
    entries,
    forget_peak,
    growth_exponent,
    in_own_process,
    peak_bytes,
    report,
    side_by_side,
)
from benchmarks.pixel_metrics import measure_ours
from benchmarks.training_step import Step
from omnial.config.load import load_settings
from omnial.data.dataset import ImageDataset
from omnial.data.layouts import discover
from omnial.training.sampler import BalancedOrder, BatchSampler

_EDGE = 128


class _Blank:
    """A store of blank images that takes no memory: choosing them is all that is measured."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    def __len__(self) -> int:
        return self._images

    def windows(
        self, indices: Sequence[int], corners: Sequence[Sequence[float]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images = self._pixels.expand(len(indices), -1, -1, -1)
        return images, images[:, :1] == 0


def training_step(batch: int, edge: int) -> Step:
    """A step of the size `tiny`, warmed up."""
    overrides = [
        f"training.batch_size={batch}",
        f"data.height={edge}",
        f"data.width={edge}",
        "training.accelerator=cpu",
    ]
    step = Step(load_settings(size="tiny", overrides=overrides))
    step()
    return step


def training_memory(batch: int, edge: int) -> int:
    """Bytes that two steps take beyond those of the smallest step there can be."""
    training_step(2, 32)
    before = forget_peak()
    training_step(batch, edge)()
    return peak_bytes() - before


def feed(images: int, classes: int, batch: int = 16) -> Callable[[], object]:
    """One batch from the middle of a run, choice and stacking alone."""
    labels = [index % classes for index in range(images)]
    store = cast(ImageDataset, _Blank(images))
    settings = load_settings(overrides=[f"training.batch_size={batch}"])
    source = BatchSampler(store, labels, None, settings)
    steps = itertools.count(1000)
    return lambda: source.batch(next(steps))


def start_of_feed(images: int, classes: int) -> Callable[[], object]:
    """Sorting the images of a run by class."""
    labels = [index % classes for index in range(images)]
    return lambda: BalancedOrder(labels, seed=0)


def discovery(folder: Path, images: int, classes: int) -> Callable[[], object]:
    """Finding images in folders; none is opened, so the files are empty."""
    root = folder / f"{images}_{classes}"
    for index in range(images):
        good = root / f"class_{index % classes:04d}" / "train" / "good"
        good.mkdir(parents=True, exist_ok=True)
        (good / f"{index:06d}.png").touch()
    return lambda: discover([root], need="train")


def exponent_of_time(works: Mapping[int, Callable[[], object]], rounds: int) -> float:
    """The exponent of the time over the sizes, which are the keys."""
    times = side_by_side({str(size): work for size, work in works.items()}, rounds)
    return growth_exponent(list(works), [statistics.median(taken) for taken in times.values()])


def exponent_of_memory(sizes: Sequence[int], needed: Sequence[int]) -> float:
    """The exponent of the memory; a page at least, since nothing has no logarithm."""
    return growth_exponent(sizes, [max(size, 4096) for size in needed])


def growth_of_training(rounds: int, scale: int) -> dict[str, float]:
    """With the images of a step, and with the pixels of an image."""
    batches = [scale, 2 * scale, 4 * scale]
    edges = [128, 192, 256] if scale > 2 else [32, 64]
    pixels = [edge**2 for edge in edges]
    by_batch = {batch: training_step(batch, _EDGE) for batch in batches}
    found = {"time_exponent_training_batch": exponent_of_time(by_batch, rounds)}
    by_pixels = {edge**2: training_step(scale, edge) for edge in edges}
    found["time_exponent_training_pixels"] = exponent_of_time(by_pixels, rounds)
    needed = [in_own_process(training_memory, batch, _EDGE) for batch in batches]
    found["memory_exponent_training_batch"] = exponent_of_memory(batches, needed)
    needed = [in_own_process(training_memory, scale, edge) for edge in edges]
    found["memory_exponent_training_pixels"] = exponent_of_memory(pixels, needed)
    return found


def growth_of_data(rounds: int, scale: int) -> dict[str, float]:
    """With images at ten classes, and with classes: the number of images fixed, or growing too."""
    images = [500 * scale, 1000 * scale, 2000 * scale]
    classes = [scale, 4 * scale, 16 * scale]
    many = 20 * rounds
    found = {
        "feed_images": exponent_of_time({n: feed(n, 10) for n in images}, many),
        "feed_classes": exponent_of_time({c: feed(images[-1], c) for c in classes}, many),
        "feed_start_images": exponent_of_time({n: start_of_feed(n, 10) for n in images}, rounds),
        "feed_start_products": exponent_of_time(
            {c: start_of_feed(50 * c, c) for c in classes}, rounds
        ),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_images = {n: discovery(folder, n, 10) for n in images}
        found["discovery_images"] = exponent_of_time(by_images, rounds)
        by_products = {c: discovery(folder, 20 * c, c) for c in classes}
        found["discovery_products"] = exponent_of_time(by_products, rounds)
    return {f"time_exponent_{name}": value for name, value in found.items()}


def growth_of_figures(scale: int) -> dict[str, float]:
    """With the score maps of an evaluation."""
    maps = [10 * scale, 30 * scale, 90 * scale]
    rows = [in_own_process(measure_ours, number, _EDGE) for number in maps]
    return {
        "time_exponent_pixel_figures": growth_exponent(maps, [row["seconds"] for row in rows]),
        "memory_exponent_pixel_figures": exponent_of_memory(maps, [row["bytes"] for row in rows]),
    }


def measure(rounds: int = 5, scale: int = 8) -> Entries:
    """All exponents; `scale` is the size of everything."""
    found = growth_of_training(rounds, scale)
    found |= growth_of_data(rounds, scale)
    found |= growth_of_figures(scale)
    return entries(
        f"python -m benchmarks.growth --rounds {rounds} --scale {scale}",
        {f"growth_{name}": (value, "exponent") for name, value in found.items()},
    )


def main(
    rounds: Annotated[int, typer.Option(help="Rounds of timing.")] = 5,
    scale: Annotated[int, typer.Option(help="Size of everything; 8 is what is reported.")] = 8,
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    found = measure(1, 2) if quick else measure(rounds, scale)
    report("Growth", found, out)


if __name__ == "__main__":
    typer.run(main)
