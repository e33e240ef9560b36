"""Samples to look at before training: what the model would learn from."""

import numpy as np
import torch

from omnial.config.settings import Settings
from omnial.data.cover import size_of, window_at
from omnial.data.decode import as_unit, network_input, network_roi
from omnial.data.records import Catalogue
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch, synthesize

_PREVIEW_STEP = 2**41  # no training step has this number


def preview(
    settings: Settings, catalogue: Catalogue, count: int, seed: int
) -> tuple[SynthesizedBatch, list[str]]:
    """Synthesize `count` samples, the classes in turn, and return the class name of each too."""
    rng, corners = np.random.default_rng((seed, 3)), np.random.default_rng((seed, 5))
    products = [catalogue.classes[index % len(catalogue.classes)] for index in range(count)]
    images, regions = [], []
    for product in products:
        record = product.train[int(rng.integers(len(product.train)))]
        pixels, placement = network_input(record.path, settings.data)
        window, corner = (settings.data.height, settings.data.width), corners.random(2).tolist()
        part = window_at(size_of(pixels), window, corner)
        images.append(as_unit(pixels[(..., *part)]))
        regions.append(network_roi(product.roi, placement)[part][None])
    normal = torch.from_numpy(np.stack(images))
    # Another image is the texture source, where there is another one.
    textures = normal[[(index + rng.integers(1, max(count, 2))) % count for index in range(count)]]
    random = SampleRandom(seed, _PREVIEW_STEP, torch.arange(count))
    region = torch.from_numpy(np.stack(regions))
    batch = synthesize(normal, textures, settings.synthesis, random, region)
    return batch, [product.name for product in products]
