"""Samples of an adversarial set: defect-free images, most with a synthesized defect.

Samples and perturbations lie on a grid of 16 bits: a grey level of 8 bits is exactly 257 of its
steps, and rounding changes a perturbation by half a step at most. Division of whole numbers is
exact to the last bit everywhere, so that a set gives the same network input on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.attacks.pgd import UNATTACKED
from omnial.config.settings import SynthesisSettings
from omnial.data.dataset import ImageDataset, to_unit
from omnial.data.records import ProductClass
from omnial.sample_random import SampleRandom
from omnial.synthesis.jnd import jnd_levels, jnd_target
from omnial.synthesis.recipe import SynthesizedBatch, synthesize

GRID: Final = 65535
"""Steps of the grid from black to white."""
GRID_PER_GREY_LEVEL: Final = GRID // 255

_ATTEMPTS = 64  # draws of a sample until it has a defect to see; one is enough for most
_LEAST_DEFECT = 0.001  # share of the image that a defect covers at least [O]
_DRAW, _ATTACK = 2**42, 2**42 + 2**20  # no training or validation step has these numbers


def to_grid(images: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round images in [0, 1] to the grid; any shape."""
    return np.rint(np.clip(images.astype(np.float64), 0.0, 1.0) * GRID).astype(np.uint16)


def from_grid(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Values of the grid as float32 in [0, 1]; any shape."""
    return values.astype(np.float32) / np.float32(GRID)


def perturbation(
    attacked: NDArray[np.float32], clean: NDArray[np.uint16], grey_levels: float
) -> NDArray[np.int16]:
    """Perturbation of images in [0, 1] in steps of the grid, inside its ball of up to 127/255."""
    bound = round(grey_levels * GRID_PER_GREY_LEVEL)
    steps = to_grid(attacked).astype(np.int32) - clean.astype(np.int32)
    # Between the clean value and a value of the grid, so the sum stays on the grid.
    return np.clip(steps, -bound, bound).astype(np.int16)


@dataclass(frozen=True)
class SetSamples:
    """Samples of a set, n of one class, on the grid; drawn, they have no perturbation yet."""

    class_name: str
    numbers: tuple[int, ...]
    """Of the samples within their class."""
    sources: tuple[str, ...]
    """File name of the defect-free image of each."""
    normal: NDArray[np.uint16]
    """(n, 3, H, W), the defect-free images I."""
    anomalous: NDArray[np.uint16]
    """(n, 3, H, W), the samples A; as `normal` for a sample without defect."""
    mask: NDArray[np.bool_]
    """(n, H, W), Y."""
    panel: NDArray[np.bool_]
    """(n, H, W), where a defect was allowed."""
    valid: NDArray[np.bool_]
    """(n, H, W), the region of interest."""
    perturbations: Mapping[str, NDArray[np.int16]] = field(default_factory=dict)
    """(n, 3, H, W) a level, in steps of the grid."""

    def __len__(self) -> int:
        return len(self.numbers)

    def images(self, level: str = UNATTACKED) -> NDArray[np.float32]:
        """Network input at a level, or before the attack: (n, 3, H, W) float32 in [0, 1]."""
        if level == UNATTACKED:
            return from_grid(self.anomalous)
        attacked = self.anomalous.astype(np.int32) + self.perturbations[level]
        return from_grid(attacked.astype(np.uint16))

    def targets(self, device: torch.device) -> SynthesizedBatch:
        """Targets of the network: I, J(I) and Y, as in training, with the samples A."""
        arrays = (from_grid(self.normal), self.images(), self.mask[:, None], self.panel[:, None])
        normal, anomalous, mask, panel = (torch.from_numpy(a).to(device).float() for a in arrays)
        with torch.no_grad():
            jnd = jnd_target(jnd_levels(normal))
        level = torch.zeros_like(mask, dtype=torch.uint8)
        return SynthesizedBatch(normal, anomalous, mask, jnd, panel, level)

    def random(self, seed: int, device: torch.device) -> SampleRandom:
        """Random numbers of an attack on them: a function of seed, class and number."""
        return SampleRandom(seed, _ATTACK, _positions(self.class_name, self.numbers), device)


def wants_defect(number: int, share: float) -> bool:
    """Whether a sample gets a defect: evenly spread, so that any first few have the share."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


def draw_clean(
    dataset: ImageDataset,
    labels: Sequence[str],
    product: ProductClass,
    numbers: Sequence[int],
    recipe: SynthesisSettings,
    share: float,
    seed: int,
) -> SetSamples:
    """Draw samples of one class, each a function of seed, class, number and dataset.

    The dataset holds the defect-free images of all classes, `labels` are theirs: those of the class
    in the order of its training images, and a defect's texture comes from any of them. `share` of
    the samples get a defect. One that shows none after 64 draws stays without, as can happen where
    the region of interest is small. Of an image that is seen in windows a sample is one, anywhere.
    """
    own = [index for index, label in enumerate(labels) if label == product.name]
    crc = crc32(product.name.encode())
    # A few classes have fewer images than samples; they come again with other defects.
    cycles = range(max(numbers) // len(own) + 1)
    orders = [np.random.default_rng((seed, crc, n)).permutation(len(own)) for n in cycles]
    picked = [int(orders[n // len(own)][n % len(own)]) for n in numbers]
    corners = [np.random.default_rng((seed, crc, n, 1)).random(2).tolist() for n in numbers]
    images, region = dataset.windows([own[index] for index in picked], corners, showing=True)
    normal = to_unit(images)
    anomalous = normal.clone()
    mask, panel = torch.zeros(region.shape, dtype=torch.bool), torch.ones_like(region)
    waiting = [row for row, number in enumerate(numbers) if wants_defect(number, share)]
    least = max(1.0, _LEAST_DEFECT * mask[0].numel())
    always = recipe.model_copy(update={"anomalous_share": 1.0})
    for attempt in range(_ATTEMPTS):
        if not waiting:
            break
        chosen = [numbers[row] for row in waiting]
        random = SampleRandom(seed, _DRAW + attempt, _positions(product.name, chosen))
        sources = random.integers("texture source", high=len(dataset)).tolist()
        corners = random.uniform("texture window", 2).tolist()
        windows = [dataset.windows([n], [at])[0] for n, at in zip(sources, corners, strict=True)]
        textures = torch.cat([to_unit(window) for window in windows])
        batch = synthesize(normal[waiting], textures, always, random, region[waiting])
        seen = [index for index, area in enumerate(batch.mask.sum((1, 2, 3))) if area >= least]
        rows = [waiting[index] for index in seen]
        anomalous[rows], mask[rows] = batch.anomalous[seen], batch.mask[seen] > 0
        panel[rows] = batch.panel[seen] > 0
        waiting = [row for row in waiting if row not in rows]
    return SetSamples(
        class_name=product.name,
        numbers=tuple(numbers),
        sources=tuple(product.train[index].path.name for index in picked),
        normal=to_grid(normal.numpy()),
        anomalous=to_grid(anomalous.numpy()),
        mask=mask[:, 0].numpy(),
        panel=panel[:, 0].numpy(),
        valid=region[:, 0].numpy(),
    )


def _positions(class_name: str, numbers: Sequence[int]) -> Tensor:
    """A number for each sample that no other sample of any class has, but by a rare chance."""
    return torch.tensor(numbers) + crc32(class_name.encode()) * 2**20
