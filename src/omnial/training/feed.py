"""Batches: which images, and which windows of them, a step sees.

Both are a function of (seed, step, place) alone.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.data.dataset import ImageDataset, to_unit


class FeedBatch(TypedDict):
    """One step's images, before synthesis."""

    step: int
    places: Tensor
    """(B,) int64, the places of these samples in the whole batch."""
    images: Tensor
    """(B, 3, H, W) uint8 or float32 in [0, 1]."""
    textures: Tensor
    """(B, 3, H, W), the same: a raw texture source for each sample."""
    region: Tensor
    """(B, 1, H, W) bool, the region of interest."""


class BalancedDraw:
    """Chooses images so that every class comes equally often, whatever its number of images.

    Position p = step * batch + place counts all samples of a run. Every round of C positions
    visits the C classes in a new order; a class's visits walk through its images in an order
    that is new for every pass.

    Args:
        labels: Class number of each image, 0 to C - 1, each at least once.
        seed: The run's seed.
    """

    def __init__(self, labels: Sequence[int], seed: int) -> None:
        self._seed = seed
        self._members: list[list[int]] = [[] for _ in range(max(labels) + 1)]
        for index, label in enumerate(labels):
            self._members[label].append(index)
        self._orders: dict[tuple[int, int], NDArray[np.int64]] = {}

    def image(self, position: int) -> int:
        """The image at a position of the run."""
        number = len(self._members)
        visit, turn = divmod(position, number)
        label = int(np.random.default_rng((self._seed, 0, visit)).permutation(number)[turn])
        members = self._members[label]
        epoch, rank = divmod(visit, len(members))
        # Only the current and the previous pass of a class are asked for again.
        key = (label, epoch)
        if key not in self._orders:
            self._orders.pop((label, epoch - 2), None)
            rng = np.random.default_rng((self._seed, 1, label, epoch))
            self._orders[key] = rng.permutation(len(members))
        return members[int(self._orders[key][rank])]


class Feed:
    """An endless run of batches from a given step on.

    No `DataLoader` stands between it and the trainer: that draws from PyTorch's own generator,
    which is the caller's.

    Args:
        store: The training images.
        labels: Class number of each.
        textures: A texture collection, or None.
        texture_share: With a collection, the share of samples that take their texture from it.
        batch_size: Samples of a step over all processes.
        seed: The run's seed.
        start: First step.
        rank: This process.
        world: Number of processes; process r takes places r, r + world, ...
        pinned: Give batches in page-locked memory, from which a GPU copies while it computes.
    """

    def __init__(
        self,
        store: ImageDataset,
        labels: Sequence[int],
        textures: ImageDataset | None,
        texture_share: float,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        *,
        pinned: bool = False,
    ) -> None:
        self._store, self._textures = store, textures
        self._draw = BalancedDraw(labels, seed)
        self._texture_share, self._batch_size, self._seed = texture_share, batch_size, seed
        self._start, self._places, self._pinned = start, range(rank, batch_size, world), pinned

    def __iter__(self) -> Iterator[FeedBatch]:
        return (self.batch(step) for step in count(self._start))

    def batch(self, step: int) -> FeedBatch:
        """The samples of one step that belong to this process."""
        indices = [self._draw.image(step * self._batch_size + place) for place in self._places]
        rngs = [np.random.default_rng((self._seed, 4, step, place)) for place in self._places]
        images, region = self._store.windows(indices, [rng.random(2).tolist() for rng in rngs])
        return {
            "step": step,
            "places": self._held(torch.tensor(list(self._places))),
            "images": self._held(images),
            "textures": self._held(
                torch.cat([self._texture(step, place) for place in self._places])
            ),
            "region": self._held(region),
        }

    def _held(self, values: Tensor) -> Tensor:
        return values.pin_memory() if self._pinned else values

    def _texture(self, step: int, place: int) -> Tensor:
        """A texture source for one sample: any training image, or one of the collection."""
        rng = np.random.default_rng((self._seed, 2, step, place))
        from_collection = rng.random() < self._texture_share
        source = self._store
        if self._textures is not None and from_collection:
            source = self._textures
        index = int(rng.integers(len(source)))
        return to_unit(source.windows([index], [rng.random(2).tolist()])[0])
