"""Train the reconstruction alone for some hundred steps: its `psnr` and `erased` as curves.

A minute says whether a change of blocks, loss or rate makes it learn early and erase: PSNR on
defect-free images that were held out, and how much of the defects drawn on them it takes away.
All steps see a quarter of the pixels, under the schedule of a run of that length.

    python -m benchmarks.reconstruction --data DIR --steps 600 --set objective.defect_weight=20
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from torch import Tensor, nn

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.cache import open_cache
from omnial.data.dataset import load_dataset, to_unit
from omnial.data.layouts import discover
from omnial.data.records import split_validation
from omnial.metrics.psnr_ssim import defect_distances, erased, psnr
from omnial.models.channels_last import pack, to_channels_last, unpack
from omnial.models.system import Output, build_model
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch, synthesize
from omnial.training.devices import choose_precision
from omnial.training.objective import losses
from omnial.training.optimizer import make_optimizers, take_step
from omnial.training.sampler import BatchSampler, reduced_images
from omnial.training.schedule import learning_rate

_PER_CLASS = 10
"""Held-out images of each class that are looked at."""


class Curve(NamedTuple):
    """The figures of each class, and their means, after some steps."""

    step: int
    seconds: float
    psnr: list[float]
    erased: list[float]


class Reconstruction(nn.Module):
    """The reconstruction of a system, from images to images."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.training.seed)
            self.network = to_channels_last(build_model(settings.model)).reconstruction
        self.stem = settings.model.stem
        self.bf16 = choose_precision(settings.training)[0] == "bf16"

    def forward(self, images: Tensor) -> Output:
        """Everything but the logits, which are empty."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            image, jnd, _ = self.network(pack(images, self.stem))
        empty = images.new_zeros(len(images), 2, *images.shape[-2:])
        return Output(
            unpack(image, self.stem), None if jnd is None else unpack(jnd, self.stem), empty
        )


def figures(network: Reconstruction, classes: Sequence[Sequence[SynthesizedBatch]]) -> list[Tensor]:
    """PSNR and what is erased, for each class."""
    ratios, shares = [], []
    with torch.no_grad():
        for samples in classes:
            clean, left, drawn = [], 0.0, 0.0
            for sample in samples:
                clean.append(psnr(network(sample.normal).reconstruction, sample.normal))
                restored = network(sample.anomalous).reconstruction
                sums = defect_distances(restored, sample.anomalous, sample.normal, sample.mask)
                left, drawn = left + float(sums[0].sum()), drawn + float(sums[1].sum())
            ratios.append(float(np.concatenate(clean).mean()))
            shares.append(erased(left, drawn))
    return [torch.tensor(ratios), torch.tensor(shares)]


def train(
    settings: Settings, data: list[Path], steps: int, every: int
) -> tuple[list[str], list[Curve]]:
    """Train the reconstruction alone.

    Returns:
        The classes, and a point of the curves after every so many steps.
    """
    catalogue = discover(data, need="train")
    cache = open_cache(settings.data)
    records = [record for product in catalogue.classes for record in product.train]
    learn, kept = split_validation(records, settings.data, settings.training.seed)
    names = list(catalogue.names)
    sampler = BatchSampler(
        load_dataset(learn, catalogue, settings.data, cache),
        [names.index(record.class_name) for record in learn],
        None,
        settings,
    )
    recipe = settings.synthesis.model_copy(update={"anomalous_share": 1.0})
    classes = []
    for name in names:
        own = [record for record in kept if record.class_name == name][:_PER_CLASS]
        store = load_dataset(own, catalogue, settings.data, cache)
        # Frames of their own size, one at a time: those of a class may differ.
        samples = []
        for index in range(len(own)):
            images, region = store.windows([index], [(0.5, 0.5)])
            texture = store.windows([index - 1], [(0.5, 0.5)])[0]
            random = SampleRandom(settings.training.seed, 2**40, torch.tensor([index]))
            samples.append(synthesize(to_unit(images), to_unit(texture), recipe, random, region))
        classes.append(samples)
    network = Reconstruction(settings)
    optimizers = make_optimizers(network, settings.training)
    curves, begin = [], time.monotonic()
    for step in range(steps):
        batch = sampler.batch(step)
        random = SampleRandom(settings.training.seed, step, batch.positions)
        sources = (batch.images, batch.textures, batch.region)
        images, textures, region = reduced_images(sources, random)
        with torch.no_grad():
            sample = synthesize(images, textures, settings.synthesis, random, region)
        terms = losses(network(sample.anomalous), sample, settings.objective)
        loss = terms._replace(focal=torch.zeros_like(terms.focal)).total(settings.objective).mean()
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.training.gradient_clip)
        take_step(optimizers, learning_rate(step, steps, settings.training))
        if (step + 1) % every == 0 or step + 1 == steps:
            network.eval()
            found = [values.tolist() for values in figures(network, classes)]
            network.train()
            curves.append(Curve(step + 1, round(time.monotonic() - begin, 1), *found))
            print(_line(names, curves[-1]), flush=True)
    return names, curves


def _line(names: list[str], point: Curve) -> str:
    own = "  ".join(
        f"{name} {ratio:.1f}/{100 * share:.0f}"
        for name, ratio, share in zip(names, point.psnr, point.erased, strict=True)
    )
    means = f"psnr {np.mean(point.psnr):.2f} dB, erased {100 * np.mean(point.erased):.0f} %"
    return f"step {point.step}, {point.seconds:.0f} s: {means}  ({own})"


def main(
    data: Annotated[list[Path], typer.Option()],
    system: str = "omnial",
    size: str = "lite",
    steps: int = 600,
    every: Annotated[
        int, typer.Option(help="Steps from one point of the curves to the next.")
    ] = 100,
    set_: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    """Print psnr and erased on held-out images while the reconstruction alone learns."""
    settings = load_settings(system=system, size=size, overrides=set_ or [])
    names, curves = train(settings, data, steps, every)
    print(json.dumps({"classes": names, "curves": [point._asdict() for point in curves]}))


if __name__ == "__main__":
    typer.run(main)
