"""Batches: which images, and which windows of them, a step sees.

Both are a function of (seed, step, position in the batch) alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.data.dataset import ImageDataset, to_unit


class Batch(NamedTuple):
    """One step's images, before synthesis."""

    positions: Tensor
    """(B,) int64, the positions of these samples in the whole batch."""
    images: Tensor
    """(B, 3, H, W) uint8 or float32 in [0, 1]."""
    textures: Tensor
    """(B, 3, H, W) float32 in [0, 1], a raw texture source for each sample."""
    region: Tensor
    """(B, 1, H, W) bool, the region of interest."""


class BalancedOrder:
    """An endless order of images in which every class comes equally often, whatever its size.

    Every round of C numbers visits the C classes in a new order; a class's visits walk through its
    images in an order that is new for every pass.

    The labels are class numbers of the images, 0 to C - 1, each at least once.
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
        # Only the current and the previous pass of a class are asked for again.
        key = (label, epoch)
        if key not in self._orders:
            self._orders.pop((label, epoch - 2), None)
            rng = np.random.default_rng((self._seed, 1, label, epoch))
            self._orders[key] = rng.permutation(len(members))
        return members[int(self._orders[key][rank])]


class BatchSampler:
    """The batch of any step.

    No `DataLoader` stands between it and the loop: that draws from PyTorch's own generator, which
    is the caller's.

    Args:
        dataset: The training images, and `labels` the class number of each.
        textures: A texture collection, or None.
        texture_share: With a collection, the share of samples that take their texture from it.
        batch_size: Samples of a step over all processes.
        seed: The run's seed.
        rank: This process r, of `world`: it takes the positions r, r + world, ...
        pinned: Give batches in page-locked memory, from which a GPU copies while it computes.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        labels: Sequence[int],
        textures: ImageDataset | None,
        texture_share: float,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        *,
        pinned: bool = False,
    ) -> None:
        self._dataset, self._textures = dataset, textures
        self._order = BalancedOrder(labels, seed)
        self._texture_share, self._batch_size, self._seed = texture_share, batch_size, seed
        self._positions, self._pinned = range(rank, batch_size, world), pinned

    def batch(self, step: int) -> Batch:
        """The samples of one step that belong to this process."""
        indices = [self._order[step * self._batch_size + position] for position in self._positions]
        rngs = [np.random.default_rng((self._seed, 4, step, p)) for p in self._positions]
        images, region = self._dataset.windows(indices, [rng.random(2).tolist() for rng in rngs])
        textures = torch.cat([self._texture(step, position) for position in self._positions])
        batch = Batch(torch.tensor(list(self._positions)), images, textures, region)
        return Batch(*(values.pin_memory() for values in batch)) if self._pinned else batch

    def _texture(self, step: int, position: int) -> Tensor:
        """A texture source for one sample: any training image, or one of the collection."""
        rng = np.random.default_rng((self._seed, 2, step, position))
        from_collection = rng.random() < self._texture_share
        source = self._dataset
        if self._textures is not None and from_collection:
            source = self._textures
        index = int(rng.integers(len(source)))
        return to_unit(source.windows([index], [rng.random(2).tolist()])[0])
