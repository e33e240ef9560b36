"""Where a source image lies in the frame that the network sees, and the way there and back.

A frame is what becomes of an image before any network: of the network's size with `squash` and
`pad`; with `window` the image at its own aspect ratio, at least the network's size in both
directions, which the network sees through overlapping windows (`omnial.data.cover`). Which of them
it is depends on the settings and the image's size alone, so that it is the same in training,
evaluation and inspection, before anyone knows the product.

Pixels are areas: pixel i covers [i, i + 1), and both directions map the source's frame onto the
content box edge to edge. Images are resized with Pillow's bilinear filter, whose support grows
with the reduction, so that shrinking does not alias.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.config.settings import DataSettings

SQUASHED: Final = 1.25
"""With `auto`, an image is squashed up to this distortion, and seen in windows beyond it. [O]"""
LONGEST: Final = 8
"""Most network inputs along a frame: an image that is longer yet is squashed to it. [O]"""

_ROUNDING = 1e-9
"""Slack of a comparison of area shares, which are sums of a few rounded products."""


@dataclass(frozen=True)
class Placement:
    """The content box of a source image in its frame of height x width, in pixels.

    With `pad` the box lies in the middle; otherwise it is the whole frame.
    """

    source_height: int
    source_width: int
    height: int
    width: int
    top: int
    left: int
    inner_height: int
    inner_width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the content box."""
        return (
            slice(self.top, self.top + self.inner_height),
            slice(self.left, self.left + self.inner_width),
        )


def place(source_size: tuple[int, int], settings: DataSettings) -> Placement:
    """Decide where an image of height and width in pixels, after any rotation, lies in which frame.

    [O] `pad` keeps the aspect ratio to the nearest pixel and splits what is left evenly; an odd
    pixel goes below or right. `window` keeps it as well, up to `LONGEST` network inputs along the
    frame.
    """
    source_height, source_width = source_size
    if source_height < 1 or source_width < 1:
        raise ValueError(f"an image needs at least one pixel, not {source_height}x{source_width}")
    height, width = settings.height, settings.width
    down, across = source_height * width, source_width * height
    distortion = max(down / across, across / down)
    if settings.geometry == "window" or (settings.geometry == "auto" and distortion > SQUASHED):
        scale = max(height / source_height, width / source_width)
        height = min(LONGEST * height, max(height, round(source_height * scale)))
        width = min(LONGEST * width, max(width, round(source_width * scale)))
    inner_height, inner_width = height, width
    if settings.geometry == "pad":
        scale = min(height / source_height, width / source_width)
        inner_height = min(height, max(1, round(source_height * scale)))
        inner_width = min(width, max(1, round(source_width * scale)))
    corner = ((height - inner_height) // 2, (width - inner_width) // 2)
    return Placement(*source_size, height, width, *corner, inner_height, inner_width)


def resize(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize (H, W) or (H, W, 3), uint8 or float32, bilinearly to a size, with antialiasing."""
    height, width = size
    if image.shape[:2] == size:
        return image
    # Pillow has no many-channel float mode; its uint8 modes take the three channels at once.
    if image.ndim == 3 and image.dtype != np.uint8:
        channels = [resize(image[..., channel], size) for channel in range(image.shape[2])]
        return np.stack(channels, axis=-1)
    source = Image.fromarray(np.ascontiguousarray(image))
    return np.array(source.resize((width, height), Image.Resampling.BILINEAR))


def to_network(image: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """Bring a source image into its frame: (height, width, 3) of the same dtype.

    [O] Padding repeats the content's outermost pixels, so that it adds no edge that a network could
    take for a defect.
    """
    inner = resize(image, (placement.inner_height, placement.inner_width))
    below = placement.height - placement.top - placement.inner_height
    right = placement.width - placement.left - placement.inner_width
    margins = ((placement.top, below), (placement.left, right), (0, 0))
    return np.pad(inner, margins, mode="edge")


def to_source(array: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """Bring a map, (height, width) float32 of the frame, back to the source image's size.

    Returns (source_height, source_width) float32: the content box, resized bilinearly.
    """
    if array.shape != (placement.height, placement.width):
        raise ValueError(
            f"a map of shape {array.shape} does not fit a frame of "
            f"{placement.height}x{placement.width}"
        )
    inner = np.array(array[placement.box], dtype=np.float32)
    return resize(inner, (placement.source_height, placement.source_width))


def area_average(array: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Average (H, W) exactly over the cells of another grid of the same frame, as float64.

    A source pixel that lies in two cells counts in each with the share of its area there, which
    Pillow's box filter, that takes or leaves whole pixels, does not do.
    """
    rows = _average_rows(array, size[0])
    return _average_rows(rows.T, size[1]).T


def _average_rows(array: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Mean of (H, W) over `count` equal bands of rows: differences of the running integral."""
    height = array.shape[0]
    integral = np.zeros((height + 1, array.shape[1]))
    np.cumsum(array, axis=0, dtype=np.float64, out=integral[1:])
    # The integral is linear within a pixel, so its value at a fractional edge is interpolated.
    edges = np.arange(count + 1) * height / count
    below = np.minimum(edges.astype(np.intp), height - 1)
    share = (edges - below)[:, np.newaxis]
    at_edges = integral[below] * (1.0 - share) + integral[below + 1] * share
    bands: NDArray[np.float64] = np.diff(at_edges, axis=0) * (count / height)
    return bands


def mask_to_network(mask: NDArray[np.bool_], placement: Placement) -> NDArray[np.bool_]:
    """Bring a mask of any size into an image's frame, so that no defect vanishes.

    Returns (height, width) bool: True where at least half of the pixel's area is, or, if there is
    no such pixel, at the pixels of the largest share. Padding is False.
    """
    share = area_average(mask, (placement.inner_height, placement.inner_width))
    largest = share.max()
    result = np.zeros((placement.height, placement.width), dtype=np.bool_)
    if largest > _ROUNDING:
        result[placement.box] = share >= min(0.5, largest) - _ROUNDING
    return result


def whole_region(region: NDArray[np.bool_], settings: DataSettings) -> NDArray[np.bool_]:
    """Bring a region on any frame to the network's size, as it is stored with a model."""
    squash = settings.model_copy(update={"geometry": "squash"})
    return mask_to_network(region, place((region.shape[0], region.shape[1]), squash))


def region_on(region: NDArray[np.bool_], placement: Placement) -> NDArray[np.bool_]:
    """Bring a region of the network's size, see `whole_region`, onto an image's frame."""
    if region.shape == (placement.height, placement.width):
        return region
    return mask_to_network(region, placement)
