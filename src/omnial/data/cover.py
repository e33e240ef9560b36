"""Overlapping pieces that cover an image, and their values blended into one map.

The windows of a frame and the tiles of a large image are cut and blended by the same rules.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

OVERLAP: Final = 0.25
"""Share of a piece that it has in common with its neighbour, at least. [O]"""

Part: TypeAlias = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Grid:
    """Where pieces lie along one axis of an image."""

    length: int
    """Pixels of the image."""
    tile: int
    """Pixels of a piece; it may be longer than the image."""
    starts: tuple[int, ...]

    @classmethod
    def over(cls, length: int, tile: int) -> "Grid":
        """The fewest pieces that overlap by `OVERLAP`, evenly spread and flush at both ends."""
        if tile >= length:
            return cls(length, tile, (0,))
        count = math.ceil((length - tile) / (tile * (1.0 - OVERLAP))) + 1
        return cls(length, tile, tuple(round(s) for s in np.linspace(0, length - tile, count)))

    @property
    def shown(self) -> int:
        """Pixels of a piece that lie in the image."""
        return min(self.tile, self.length)

    def weights(self) -> NDArray[np.float32]:
        """Of each pixel of a piece: a ramp up, a plateau, a ramp down, all above 0."""
        edge = np.arange(self.shown, dtype=np.float32) + np.float32(0.5)
        ramp = np.float32(max(1.0, OVERLAP * self.tile))
        rising: NDArray[np.float32] = np.minimum(np.minimum(edge, edge[::-1]) / ramp, 1.0)
        return rising.astype(np.float32)

    def total(self, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Of each pixel of the image: the sum of the weights of the pieces that it lies in."""
        total, weights = np.zeros(self.length, dtype), self.weights()
        for start in self.starts:
            total[start : start + self.shown] += weights
        return total


@dataclass(frozen=True)
class Cover:
    """Where pieces lie on an image."""

    rows: Grid
    columns: Grid

    @classmethod
    def over(cls, size: Sequence[int], piece: Sequence[int]) -> "Cover":
        """Cover an image of height and width by pieces of height and width."""
        return cls(Grid.over(size[0], piece[0]), Grid.over(size[1], piece[1]))

    def parts(self) -> Iterator[Part]:
        """Rows and columns of the image that each piece shows, row by row."""
        for top, left in product(self.rows.starts, self.columns.starts):
            yield slice(top, top + self.rows.shown), slice(left, left + self.columns.shown)


class Blend:
    """One array, (*leading, height, width), of an image, put together from those of its pieces.

    Where pieces overlap, it is their mean, with weights that fall towards a piece's edges, where a
    network sees the least of what is around. Summed in float64, pieces that agree give their
    float32 value exactly.
    """

    def __init__(
        self, cover: Cover, leading: tuple[int, ...] = (), dtype: DTypeLike = np.float32
    ) -> None:
        self._cover, self._dtype = cover, dtype
        rows, columns = (grid.weights().astype(dtype) for grid in (cover.rows, cover.columns))
        self._weights = np.multiply.outer(rows, columns)
        self._sum = np.zeros((*leading, cover.rows.length, cover.columns.length), dtype)

    def add(self, part: Part, values: NDArray[np.float32]) -> None:
        """Add what is known of a piece, (..., height, width) of the part that it shows."""
        self._sum[(..., *part)] += self._weights * values

    def result(self) -> NDArray[np.float32]:
        """The whole, float32. Call this once, when all pieces are added."""
        self._sum /= self._cover.rows.total(self._dtype)[:, np.newaxis]
        self._sum /= self._cover.columns.total(self._dtype)
        return self._sum.astype(np.float32, copy=False)


def window_at(size: Sequence[int], window: Sequence[int], corner: Sequence[float]) -> Part:
    """One window anywhere on a frame; both have height and width, the frame at least the window's.

    The corner is two numbers in [0, 1): how far down and to the right it lies.
    """
    top, left = (
        int(share * (length - edge + 1))
        for length, edge, share in zip(size, window, corner, strict=True)
    )
    return slice(top, top + window[0]), slice(left, left + window[1])


def window_showing(
    region: NDArray[np.bool_], window: Sequence[int], corner: Sequence[float]
) -> Part:
    """The window of `window_at`, or, where it shows nothing of a region, the one that shows most.

    The region is (H, W) of the frame, True somewhere.
    """
    part = window_at(region.shape, window, corner)
    if region[part].any():
        return part
    return max(Cover.over(region.shape, window).parts(), key=lambda one: int(region[one].sum()))


def size_of(array: Any) -> tuple[int, int]:
    """Height and width, the last two axes of an array or a tensor."""
    return int(array.shape[-2]), int(array.shape[-1])
