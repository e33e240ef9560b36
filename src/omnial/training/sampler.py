"""Batches: which images, which windows of them, and how many of their pixels a step sees.

All are a function of (seed, step, position in the batch) alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from omnial.config.settings import Settings
from omnial.data.dataset import ImageDataset, to_unit
from omnial.sample_random import SampleRandom


class Batch(NamedTuple):
    """One step's images, before synthesis."""

    positions: Tensor
    """(B,) int64 on the CPU, the positions of these samples in the whole batch."""
    images: Tensor
    """(B, 3, H, W) uint8 or float32 in [0, 1]."""
    textures: Tensor
    """(B, 3, H, W) uint8 or float32 in [0, 1], a raw texture source for each sample."""
    region: Tensor
    """(B, 1, H, W) bool, the region of interest."""


class BalancedOrder:
    """An endless order of images in which every class comes equally often, whatever its size.

    Every round of C numbers visits the C classes in a new order; a class's visits walk through its
    images in an order that is new for every pass. The labels are 0 to C - 1, each at least once.
    """

    def __init__(self, labels: Sequence[int], seed: int) -> None:
        self._seed = seed
        self._members: list[list[int]] = [[] for _ in range(max(labels) + 1)]
        for index, label in enumerate(labels):
            self._members[label].append(index)
        self._orders: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __getitem__(self, number: int) -> int:
        """The image of a sample, counted over the whole run."""
        classes = len(self._members)
        visit, turn = divmod(number, classes)
        label = int(np.random.default_rng((self._seed, 0, visit)).permutation(classes)[turn])
        members = self._members[label]
        epoch, rank = divmod(visit, len(members))
        key = (label, epoch)
        if key not in self._orders:
            # Only the current and the previous pass of a class are asked for again.
            self._orders.pop((label, epoch - 2), None)
            rng = np.random.default_rng((self._seed, 1, label, epoch))
            self._orders[key] = rng.permutation(len(members))
        return members[int(self._orders[key][rank])]


class BatchSampler:
    """The batch of any step, from images, the class number of each, and a texture collection.

    Process r of `world` takes the positions r, r + world, ... of a batch. Batches may be in
    `pinned` memory, from which a GPU copies while it computes. No `DataLoader` stands between this
    and the loop: that draws from PyTorch's own generator, which is the caller's.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        labels: Sequence[int],
        textures: ImageDataset | None,
        settings: Settings,
        rank: int = 0,
        world: int = 1,
        *,
        pinned: bool = False,
    ) -> None:
        self._dataset, self._textures = dataset, textures
        self._seed, self._batch_size = settings.training.seed, settings.training.batch_size
        self._order = BalancedOrder(labels, self._seed)
        self._texture_share = settings.synthesis.texture_share
        self._positions, self._pinned = range(rank, self._batch_size, world), pinned

    def batch(self, step: int) -> Batch:
        """The samples of one step that belong to this process."""
        indices = [self._order[step * self._batch_size + position] for position in self._positions]
        rngs = [np.random.default_rng((self._seed, 4, step, p)) for p in self._positions]
        images, region = self._dataset.windows(indices, [rng.random(2).tolist() for rng in rngs])
        textures = [self._texture(step, position) for position in self._positions]
        if any(texture.dtype != torch.uint8 for texture in textures):
            textures = list(map(to_unit, textures))
        batch = Batch(torch.tensor(self._positions), images, torch.cat(textures), region)
        return Batch(*(values.pin_memory() for values in batch)) if self._pinned else batch

    def _texture(self, step: int, position: int) -> Tensor:
        """A texture source for one sample: any training image, or one of the collection."""
        rng = np.random.default_rng((self._seed, 2, step, position))
        from_collection = rng.random() < self._texture_share
        source = self._dataset
        if self._textures is not None and from_collection:
            source = self._textures
        index = int(rng.integers(len(source)))
        return source.windows([index], [rng.random(2).tolist()])[0]


def reduced_images(batches: Sequence[Tensor], random: SampleRandom) -> list[Tensor]:
    """A random crop of one half of the samples, on average, and the other half at half the scale.

    Crops keep the scale of a texture, smaller images the position of a part. Both are in every
    batch, so that batch norm sees one distribution. A sample's crop lies at the same position in
    every batch of images. The random numbers are on the CPU, so that no GPU is waited for.

    From (B, C, H, W) each, uint8 or float32 images or bool, to (B, C, ceil(H / 2), ceil(W / 2)),
    float32 images in [0, 1] or bool.
    """
    height, width = batches[0].shape[-2:]
    rows, columns = -(-height // 2), -(-width // 2)
    cropped = (random.uniform("crop") < 0.5).tolist()
    tops = random.integers("crop top", high=height - rows + 1).tolist()
    lefts = random.integers("crop left", high=width - columns + 1).tolist()
    # Sample by sample, so that what is not used is not computed either.
    return [
        torch.stack(
            [
                to_unit(image[:, top : top + rows, left : left + columns])
                if is_crop
                else halved(image)
                for image, is_crop, top, left in zip(images, cropped, tops, lefts, strict=True)
            ]
        )
        for images in batches
    ]


def halved(images: Tensor) -> Tensor:
    """Half the rows and columns by area average, of bool where half a pixel is set.

    From (..., C, H, W), uint8 or float32 images or bool, to (..., C, ceil(H / 2), ceil(W / 2)),
    float32 images in [0, 1] or bool.
    """
    means = F.avg_pool2d(to_unit(images).float(), 2, ceil_mode=True)
    return means >= 0.5 if images.dtype == torch.bool else means
