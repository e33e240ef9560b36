"""The clean samples of an adversarial set: defect-free images, most with a synthesized defect."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.config.settings import SynthesisSettings
from omnial.data.dataset import ImageDataset, to_unit
from omnial.data.records import ProductClass
from omnial.robustness.grid import from_grid, to_grid
from omnial.synthesis.jnd import jnd_levels, jnd_target
from omnial.synthesis.random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch, synthesize

ATTEMPTS = 64
"""Draws of a sample until it has a defect to see; one is enough for most."""
_LEAST_DEFECT = 0.001
"""Share of the image that a defect covers at least. [O]"""
_DRAW, _ATTACK = 2**42, 2**42 + 2**20  # no training or validation step has these numbers


@dataclass(frozen=True)
class Clean:
    """Samples before the attack, n of one class, on the grid of `omnial.robustness.grid`.

    Attributes:
        class_name: The class.
        numbers: Number of each sample within its class.
        sources: File name of the defect-free image of each.
        normal: (n, 3, H, W) uint16, the defect-free images I.
        anomalous: (n, 3, H, W) uint16, the samples A; as `normal` for a sample without defect.
        mask: (n, H, W) bool, Y.
        panel: (n, H, W) bool, where a defect was allowed.
        valid: (n, H, W) bool, the region of interest.
    """

    class_name: str
    numbers: tuple[int, ...]
    sources: tuple[str, ...]
    normal: NDArray[np.uint16]
    anomalous: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    panel: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)

    def images(self, device: torch.device) -> Tensor:
        """The samples A as network input: (n, 3, H, W) float32."""
        return torch.from_numpy(from_grid(self.anomalous)).to(device)

    def targets(self, device: torch.device) -> SynthesizedBatch:
        """What the network should make of them: I, J(I) and Y, as in training."""
        normal = torch.from_numpy(from_grid(self.normal)).to(device)
        mask, panel = (
            torch.from_numpy(values[:, None].astype(np.float32)).to(device)
            for values in (self.mask, self.panel)
        )
        with torch.no_grad():
            jnd = jnd_target(jnd_levels(normal))
        level = torch.zeros_like(mask, dtype=torch.uint8)
        return SynthesizedBatch(normal, self.images(device), mask, jnd, panel, level)

    def random(self, seed: int, device: torch.device) -> SampleRandom:
        """The random numbers of an attack on them: a function of seed, class and number."""
        return SampleRandom(seed, _ATTACK, _places(self.class_name, self.numbers).to(device))


def wants_defect(number: int, share: float) -> bool:
    """Whether a sample gets a defect: evenly spread, so that any first few have the share."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


def draw_clean(
    store: ImageDataset,
    labels: Sequence[str],
    product: ProductClass,
    numbers: Sequence[int],
    recipe: SynthesisSettings,
    share: float,
    seed: int,
) -> Clean:
    """Draw samples of one class.

    Args:
        store: The defect-free images of all classes; a defect's texture comes from any of them.
        labels: Class of each image of the store.
        product: The class; its images of the store stand in the order of its training images.
        numbers: Which samples; each is a function of seed, class, number and the store. Of an
            image that is seen in windows it is one of them, anywhere.
        recipe: How defects are drawn.
        share: Share of samples with a defect.
        seed: The set's seed.

    Returns:
        The samples. One that shows no defect after `ATTEMPTS` draws stays without, as can
        happen where the region of interest is small.
    """
    own = [index for index, label in enumerate(labels) if label == product.name]
    crc = crc32(product.name.encode())
    # A few classes have fewer images than samples; they come again with other defects.
    orders = [
        np.random.default_rng((seed, crc, cycle)).permutation(len(own))
        for cycle in range(max(numbers) // len(own) + 1)
    ]
    picked = [own[int(orders[n // len(own)][n % len(own)])] for n in numbers]
    corners = [np.random.default_rng((seed, crc, n, 1)).random(2).tolist() for n in numbers]
    images, region = store.windows(picked, corners, showing=True)
    normal = to_unit(images)
    anomalous = normal.clone()
    mask, panel = torch.zeros(region.shape, dtype=torch.bool), torch.ones_like(region)
    waiting = [row for row, number in enumerate(numbers) if wants_defect(number, share)]
    least = max(1.0, _LEAST_DEFECT * mask[0].numel())
    always = recipe.model_copy(update={"anomalous_share": 1.0})
    for attempt in range(ATTEMPTS):
        if not waiting:
            break
        chosen = [numbers[row] for row in waiting]
        random = SampleRandom(seed, _DRAW + attempt, _places(product.name, chosen))
        sources = random.integers("texture source", high=len(store)).tolist()
        places = random.uniform("texture window", 2).tolist()
        textures = torch.cat(
            [to_unit(store.windows([n], [at])[0]) for n, at in zip(sources, places, strict=True)]
        )
        batch = synthesize(normal[waiting], textures, always, random, region[waiting])
        seen = [place for place, area in enumerate(batch.mask.sum((1, 2, 3))) if area >= least]
        rows = [waiting[place] for place in seen]
        anomalous[rows], mask[rows] = batch.anomalous[seen], batch.mask[seen] > 0
        panel[rows] = batch.panel[seen] > 0
        waiting = [row for row in waiting if row not in rows]
    files = [product.train[own.index(index)].path for index in picked]
    return Clean(
        class_name=product.name,
        numbers=tuple(numbers),
        sources=tuple(Path(file).name for file in files),
        normal=to_grid(normal.numpy()),
        anomalous=to_grid(anomalous.numpy()),
        mask=mask[:, 0].numpy(),
        panel=panel[:, 0].numpy(),
        valid=region[:, 0].numpy(),
    )


def _places(class_name: str, numbers: Sequence[int]) -> Tensor:
    """A number for each sample that no other sample of any class has, but by a rare chance."""
    return torch.tensor(numbers) + crc32(class_name.encode()) * 2**20
