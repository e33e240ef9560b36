"""The embedded data set: a procedural production line with exact defect masks.

Eight product classes, five objects and three textures, are drawn as lit surfaces with varying
pose, light and grain. A defect is drawn into the same scene as its defect-free twin, so its mask is
where the two pictures differ. None of the defects is a noise blob filled with a texture, which is
what the training synthesis draws.

`generate` writes a data set in the layout of MVTec AD; `render_pair` draws one image with its
mask and twin; `CLASS_NAMES` and `DEFECT_KINDS` say what there is.
"""

from collections.abc import Mapping

from omnial.data.production_line.scene import PRODUCTS, VISIBLE, Pair, render_pair
from omnial.data.production_line.writer import MARKER, generate

CLASS_NAMES: tuple[str, ...] = tuple(PRODUCTS)
"""The product classes, sorted."""

DEFECT_KINDS: Mapping[str, tuple[str, ...]] = {
    name: product.kinds for name, product in PRODUCTS.items()
}
"""The defect kinds of each class, sorted."""

__all__ = [
    "CLASS_NAMES",
    "DEFECT_KINDS",
    "MARKER",
    "VISIBLE",
    "Pair",
    "generate",
    "render_pair",
]
