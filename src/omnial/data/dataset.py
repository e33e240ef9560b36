"""Decoded images in memory or mapped from the cache, and their windows as tensors."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.config.settings import DataSettings
from omnial.data.cache import InputCache
from omnial.data.cover import size_of, window_at, window_showing
from omnial.data.decode import as_unit, network_roi
from omnial.data.geometry import whole_region
from omnial.data.records import Catalogue, ImageRecord


class ImageDataset:
    """Images in their frames, 3 bytes a pixel for 8-bit files, and their regions of interest.

    Each path has its region-of-interest file, or None; the cache is of the same settings.
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

    def brightest(self, index: int) -> float:
        """The largest value of an image of more than 8 bits, in [0, 1]; 1 for others."""
        pixels = self._pixels[index]
        return 1.0 if pixels.dtype == np.uint8 else float(pixels.max())

    def batches(self, indices: Sequence[int], windows: int) -> list[list[int]]:
        """Batches of indices, in order: frames of one size, at most so many windows' pixels."""
        found = []
        for size, run in groupby(indices, self.size):
            members = list(run)
            step = max(1, windows * math.prod(self._window) // math.prod(size))
            found += [members[start : start + step] for start in range(0, len(members), step)]
        return found

    def images(self, indices: Sequence[int]) -> Tensor:
        """Stack whole frames of one size: (B, 3, H, W), uint8 if all are, else float32."""
        return _stack([self._pixels[index] for index in indices])

    def regions(self, indices: Sequence[int]) -> Tensor:
        """Stack regions of interest of whole frames of one size: (B, 1, H, W) bool."""
        return torch.from_numpy(np.stack([self._regions[index] for index in indices])[:, None])

    def windows(
        self, indices: Sequence[int], corners: Sequence[Sequence[float]], *, showing: bool = False
    ) -> tuple[Tensor, Tensor]:
        """One window of the network's size of each image: as of `images` and `regions`.

        Each lies at its corner, see `omnial.data.cover.window_at`; `showing` takes another one
        where that shows nothing of the region of interest.
        """
        parts = [
            window_showing(self._regions[index], self._window, corner)
            if showing
            else window_at(self.size(index), self._window, corner)
            for index, corner in zip(indices, corners, strict=True)
        ]
        pairs = list(zip(indices, parts, strict=True))
        regions = np.stack([self._regions[index][part] for index, part in pairs])
        images = _stack([self._pixels[index][(..., *part)] for index, part in pairs])
        return images, torch.from_numpy(regions[:, None])


def load_dataset(
    records: Sequence[ImageRecord], catalogue: Catalogue, settings: DataSettings, cache: InputCache
) -> ImageDataset:
    """Decoded records, with the region of interest of their classes."""
    rois = {product.name: product.roi for product in catalogue.classes}
    regions = [rois[record.class_name] for record in records]
    return ImageDataset([record.path for record in records], regions, settings, cache)


def class_regions(
    records: Sequence[ImageRecord], catalogue: Catalogue, settings: DataSettings, data: ImageDataset
) -> dict[str, NDArray[np.bool_]]:
    """The region of interest of each class that has one, at network size, of `load_dataset`'s."""
    classes = [record.class_name for record in records]
    found = {}
    for product in catalogue.classes:
        if product.roi is not None:
            region = data.regions([classes.index(product.name)])[0, 0].numpy()
            found[product.name] = whole_region(region, settings)
    return found


def to_unit(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]."""
    return images.float() / 255.0 if images.dtype == torch.uint8 else images


def _stack(pixels: Sequence[NDArray[Any]]) -> Tensor:
    if any(image.dtype != np.uint8 for image in pixels):
        pixels = [as_unit(image) for image in pixels]
    return torch.from_numpy(np.stack(pixels))
