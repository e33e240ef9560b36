"""What a step trains on: images with anomalies, drawn while the step before it computes."""

import itertools
from collections.abc import Generator, Iterator
from typing import NamedTuple

import torch
from lightning_fabric import Fabric

from omnial.config.settings import Settings
from omnial.data.dataset import to_unit
from omnial.data.prefetch import prefetch
from omnial.machine import available_cores
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch, synthesize
from omnial.training.sampler import Batch, BatchSampler, halved, reduced_images
from omnial.training.schedule import Budget, Pixels, pixels_of


class Drawn(NamedTuple):
    """A step's batch, and the anomalies drawn onto it."""

    batch: Batch
    random: SampleRandom
    """The step's random numbers."""
    sample: SynthesizedBatch
    pixels: Pixels
    """What the sample shows of the images."""


@torch.no_grad()
def draw(batch: Batch, settings: Settings, step: int, total_steps: int | None) -> Drawn:
    """Draw a step's anomalies onto its images; some steps see a quarter of the pixels."""
    # Every draw is a function of seed, step and position in the batch.
    pixels = pixels_of(step, total_steps, settings.training)
    images = [batch.images, batch.textures, batch.region]
    random = SampleRandom(settings.training.seed, step, batch.positions, batch.images.device)
    if pixels == "mixed":
        images = reduced_images(images, random.on_cpu())
    elif pixels == "half":
        images = list(map(halved, images))
    normal, textures, region = map(to_unit, images)
    sample = synthesize(normal, textures, settings.synthesis, random, region)
    return Drawn(batch, random, sample, pixels)


def drawn_ahead(
    sampler: BatchSampler, budget: Budget, settings: Settings, fabric: Fabric, first: int
) -> Generator[Drawn, None, None]:
    """What each step from `first` on trains on; close it after the last.

    A training on fewer threads than there are cores leaves one idle: it draws the next step
    meanwhile. On a busy core that would take as long as in turn, or longer.
    """
    alone = fabric.device.type == "cpu" and fabric.world_size == 1
    cores = available_cores() if alone else 0
    threads = 0
    ahead: Iterator[Drawn] = iter(())

    def draw_step(plan: tuple[int, int | None]) -> Drawn:
        step, total_steps = plan
        batch = sampler.batch(step)
        on_device = fabric.to_device(batch)._replace(positions=batch.positions)
        return draw(on_device, settings, step, total_steps)

    for step in itertools.count(first):
        if threads != torch.get_num_threads():  # a thread that begins now takes the new number
            threads = torch.get_num_threads()
            plans = ((later, budget.total_steps) for later in itertools.count(step))
            ahead = prefetch(draw_step, plans, 1) if threads < cores else map(draw_step, plans)
        drawn = next(ahead)
        # A time budget may have moved the first step on whole images meanwhile.
        if drawn.pixels != pixels_of(step, budget.total_steps, settings.training):
            drawn = draw(drawn.batch, settings, step, budget.total_steps)
        yield drawn
