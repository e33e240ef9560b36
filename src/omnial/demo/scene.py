"""One image of the production line, with its mask and its defect-free twin."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray
from scipy import ndimage

from omnial.demo.canvas import Canvas, Field
from omnial.demo.defects import Defect
from omnial.demo.products import (
    blister,
    circuit_board,
    fabric,
    gear,
    label,
    metal_plate,
    tile,
    wood,
)
from omnial.demo.surface import Lighting, Surface, grain, photograph
from omnial.errors import UserError

Split = Literal["train", "test"]
Builder = Callable[[Canvas, Generator, Defect | None], Surface]

MIN_SIZE = 64
MAX_SIZE = 1024
VISIBLE = 6.0 / 255.0
"""A pixel belongs to the mask where a channel changed by more than this."""
_AREA = (0.002, 0.07)
_ATTEMPTS = 24
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Product:
    """A product class: what draws it, and the defect kinds that it can have."""

    build: Builder
    kinds: tuple[str, ...]


PRODUCTS: Mapping[str, Product] = {
    "blister": Product(blister.build, blister.KINDS),
    "circuit_board": Product(circuit_board.build, circuit_board.KINDS),
    "fabric": Product(fabric.build, fabric.KINDS),
    "gear": Product(gear.build, gear.KINDS),
    "label": Product(label.build, label.KINDS),
    "metal_plate": Product(metal_plate.build, metal_plate.KINDS),
    "tile": Product(tile.build, tile.KINDS),
    "wood": Product(wood.build, wood.KINDS),
}


class Pair(NamedTuple):
    """An image, what it would be without its defect, and where the two differ.

    Attributes:
        image: (size, size, 3) uint8.
        normal: (size, size, 3) uint8; equals `image` outside the mask, and for kind `good`
            everywhere.
        mask: (size, size) bool: the pixels whose colour the defect changed by more than `VISIBLE`
            before grain, gaps of up to two pixels closed, specks of less than three pixels dropped.
    """

    image: NDArray[np.uint8]
    normal: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def render_pair(
    class_name: str, split: Split, kind: str, index: int, *, seed: int, size: int = 256
) -> Pair:
    """Draw one image: a pure function of its arguments.

    Product, light and grain depend on (seed, class, split, kind, index); the defect is drawn into
    the same scene from random numbers of its own, so that the twin shows exactly the same part.
    A defect that would cover less than 0.2 % or more than 7 % of the image is drawn again.

    Args:
        class_name: One of `PRODUCTS`.
        split: `train` or `test`.
        kind: `good`, or one of the class's defect kinds.
        index: Number of the image within its kind, from 0.
        seed: Of the data set, from 0.
        size: Edge of the image in pixels, 64..1024.

    Raises:
        UserError: An unknown class or kind, a negative seed or index, a size out of range.
    """
    product = _checked(class_name, kind, index, seed, size)
    key = (
        seed,
        index,
        *(zlib.crc32(name.encode()) for name in (class_name, split, kind)),
    )
    # Fine textures need 256 pixels to be drawn well; smaller images are the average of those.
    factor = -(-256 // size)
    canvas = Canvas.of_size(size * factor)
    lighting = Lighting.draw(_stream(key, 0))
    noise = grain(_stream(key, 1), size, lighting.grain)

    def shot(defect: Defect | None) -> Field:
        surface = product.build(canvas, _stream(key, 2), defect)
        image = photograph(surface, canvas, lighting)
        if factor == 1:
            return image
        reduced: Field = image.reshape(size, factor, size, factor, 3).mean(axis=(1, 3))
        return reduced

    clean = shot(None)
    normal = _quantised(clean + noise)
    if kind == "good":
        return Pair(normal, normal, np.zeros((size, size), dtype=np.bool_))
    severity = (_stream(key[:1] + key[2:], 3).uniform() + index * _GOLDEN) % 1.0
    best: tuple[float, Field, NDArray[np.bool_]] | None = None
    for attempt in range(_ATTEMPTS):
        defective = shot(Defect(kind, severity, _stream(key, 4 + attempt)))
        mask = _changed(clean, defective)
        share = float(mask.mean())
        miss = max(_AREA[0] - share, share - _AREA[1], 0.0)
        if best is None or miss < best[0]:
            best = (miss, defective, mask)
        if miss == 0.0:
            break
    assert best is not None
    _, defective, mask = best
    image = np.where(mask[..., None], _quantised(defective + noise), normal)
    return Pair(image, normal, mask)


def _checked(class_name: str, kind: str, index: int, seed: int, size: int) -> Product:
    if class_name not in PRODUCTS:
        raise UserError(
            f"the production line has no class {class_name!r}; choose from {', '.join(PRODUCTS)}"
        )
    product = PRODUCTS[class_name]
    if kind != "good" and kind not in product.kinds:
        raise UserError(
            f"the production line's {class_name} has no defect {kind!r}; "
            f"choose from good, {', '.join(product.kinds)}"
        )
    if seed < 0 or index < 0:
        raise UserError(f"seed and index start at 0, not seed {seed}, index {index}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"size must be from {MIN_SIZE} to {MAX_SIZE} pixels, not {size}")
    return product


def _stream(key: tuple[int, ...], number: int) -> Generator:
    """Independent random numbers for one purpose within one image."""
    return Generator(Philox(SeedSequence((*key, number))))


def _quantised(image: Field) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def _changed(clean: Field, defective: Field) -> NDArray[np.bool_]:
    """The mask of `Pair`."""
    visible = np.abs(defective - clean).max(axis=2) > VISIBLE
    padded = np.pad(visible, 2)
    closed = ndimage.binary_closing(padded, np.ones((3, 3), np.bool_))[2:-2, 2:-2]
    labels, count = ndimage.label(closed, np.ones((3, 3), np.int8))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept: NDArray[np.bool_] = (sizes >= 3)[labels]
    return kept
