"""Batches: which images, and which windows of them, a step sees.

Both are a function of (seed, step, place) alone.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.cover import size_of, window_at, window_showing
from omnial.data.decode import as_unit, network_roi
from omnial.data.records import Catalogue, ImageRecord


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


class ImageStore:
    """Decoded frames, 3 bytes a pixel for 8-bit files, mapped from the cache.

    Where the cache does not hold them, they are in memory.

    Args:
        paths: The files.
        regions: Region-of-interest file of each, or None.
        settings: Size, geometry and bounds.
        cache: The run's cache, with the same settings.

    Raises:
        ImageError: A file cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        regions: Sequence[Path | None],
        settings: DataSettings,
        cache: InputCache,
    ) -> None:
        self._window = (settings.height, settings.width)
        inputs = cache.network_inputs(paths)
        self._pixels = [pixels for pixels, _ in inputs]
        masks: dict[tuple[Any, ...], NDArray[np.bool_]] = {}
        self._regions: list[NDArray[np.bool_]] = []
        for (_, placement), region in zip(inputs, regions, strict=True):
            key = (region, placement)
            if key not in masks:
                masks[key] = network_roi(region, placement)
            self._regions.append(masks[key])

    def __len__(self) -> int:
        return len(self._pixels)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image's frame."""
        return size_of(self._pixels[index])

    def in_windows(self, index: int) -> bool:
        """Whether an image is seen through several windows."""
        return self.size(index) != self._window

    def batches(self, indices: Sequence[int], most: int) -> list[list[int]]:
        """Part indices, in order, into batches of frames of one size.

        Args:
            indices: The images.
            most: A batch has at most so many windows' pixels, or a single image.
        """
        found = []
        for size, run in groupby(indices, self.size):
            members = list(run)
            step = max(1, most * math.prod(self._window) // math.prod(size))
            found += [members[start : start + step] for start in range(0, len(members), step)]
        return found

    def images(self, indices: Sequence[int]) -> Tensor:
        """Stack whole frames of one size: (B, 3, H, W), uint8 if all are, else float32."""
        return _stacked([self._pixels[index] for index in indices])

    def brightest(self, index: int) -> float:
        """The largest value of an image of more than 8 bits, in [0, 1]; 1 for others."""
        pixels = self._pixels[index]
        return 1.0 if pixels.dtype == np.uint8 else float(pixels.max())

    def regions(self, indices: Sequence[int]) -> Tensor:
        """Stack regions of interest of whole frames of one size: (B, 1, H, W) bool."""
        return torch.from_numpy(np.stack([self._regions[index] for index in indices])[:, None])

    def windows(
        self, indices: Sequence[int], corners: Sequence[Sequence[float]], *, showing: bool = False
    ) -> tuple[Tensor, Tensor]:
        """One window of the network's size of each image.

        Args:
            indices: The images.
            corners: Where it lies in each, see `omnial.data.cover.window_at`; a frame of the
                network's size is a window itself.
            showing: Take another one where it shows nothing of the region of interest.

        Returns:
            Images and regions of interest, as of `images` and `regions`.
        """
        parts = [
            window_showing(self._regions[index], self._window, corner)
            if showing
            else window_at(self.size(index), self._window, corner)
            for index, corner in zip(indices, corners, strict=True)
        ]
        pairs = list(zip(indices, parts, strict=True))
        regions = np.stack([self._regions[index][part] for index, part in pairs])
        images = _stacked([self._pixels[index][(..., *part)] for index, part in pairs])
        return images, torch.from_numpy(regions[:, None])


def _stacked(chosen: Sequence[NDArray[Any]]) -> Tensor:
    if any(pixels.dtype != np.uint8 for pixels in chosen):
        chosen = [as_unit(pixels) for pixels in chosen]
    return torch.from_numpy(np.stack(chosen))


def store_of(
    records: Sequence[ImageRecord], catalogue: Catalogue, settings: DataSettings, cache: InputCache
) -> ImageStore:
    """Decode records, with the region of interest of their classes.

    Raises:
        ImageError: A file cannot be used.
    """
    rois = {product.name: product.roi for product in catalogue.classes}
    regions = [rois[record.class_name] for record in records]
    return ImageStore([record.path for record in records], regions, settings, cache)


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


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
        store: ImageStore,
        labels: Sequence[int],
        textures: ImageStore | None,
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
