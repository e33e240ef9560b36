"""The batched synthesis next to the same recipe written image by image (`reference_synthesis`).

python -m benchmarks.synthesis --edge 256 --batch 16 --rounds 8
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.nn.functional import interpolate

from benchmarks.common import Entries, entries, ratio, report, side_by_side
from benchmarks.reference_synthesis import draw_sample
from omnial.config.settings import SynthesisSettings
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize


def smooth_images(count: int, edge: int, seed: int) -> torch.Tensor:
    """Random images of a few soft blobs and some grain: (count, 3, edge, edge) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = interpolate(coarse, (edge, edge), mode="bicubic")
    grain = 0.02 * torch.randn(smooth.shape, generator=generator)
    return (smooth + grain).clamp(0.0, 1.0)


def measure(edge: int = 256, batch: int = 16, rounds: int = 8) -> Entries:
    """How many times as long the reference takes for an image."""
    settings = SynthesisSettings()
    images, textures = smooth_images(batch, edge, 0), smooth_images(batch, edge, 1)
    pairs = list(zip(images.numpy(), textures.numpy(), strict=True))
    rng = np.random.default_rng(0)
    positions, step = torch.arange(batch), itertools.count()

    def ours() -> None:
        synthesize(images, textures, settings, SampleRandom(0, next(step), positions))

    def reference() -> None:
        for image, texture in pairs:
            draw_sample(image, texture, settings, rng)

    works: dict[str, Callable[[], object]] = {"ours": ours, "reference": reference}
    times = side_by_side(works, rounds)
    command = f"python -m benchmarks.synthesis --edge {edge} --batch {batch} --rounds {rounds}"
    return entries(
        command,
        {
            "synthesis_vs_reference": (ratio(times["reference"], times["ours"]), "ratio"),
            "synthesis_time_per_image": (1e3 * float(np.median(times["ours"])) / batch, "ms"),
        },
    )


def main(
    edge: Annotated[int, typer.Option(help="Edge of an image in pixels.")] = 256,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 16,
    rounds: Annotated[int, typer.Option(help="Rounds of timing.")] = 8,
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    found = measure(64, 2, 1) if quick else measure(edge, batch, rounds)
    report("Synthesis", found, out)


if __name__ == "__main__":
    typer.run(main)
