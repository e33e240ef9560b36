"""Finding the product classes below the folders that a user names."""

import logging
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, Protocol

from omnial.data import folders, kolektor, real_iad, visa
from omnial.data.listing import all_own, image_files, listed, subfolders, warn_of_left_out
from omnial.data.names import is_defective, is_good, structure
from omnial.data.records import Catalogue, ProductClass
from omnial.errors import UserError, shown
from omnial.untrusted import is_line, is_plain_name

_logger = logging.getLogger(__name__)

Need = Literal["train", "test", "any"]

_EXPECTED = """Expected is a folder with a folder for each product class, or one class's folder:
  MVTec AD       class/train/good, class/test/<kind>, class/ground_truth/<kind>/<name>_mask.png
  VisA           split_csv/1cls.csv next to the classes, or class/image_anno.csv
  Real-IAD       realiad_jsons/<class>.json next to realiad_1024/<class>
  KolektorSDD2   class/train and class/test, each <name>.png with its <name>_GT.png
  plain folders  defect-free images in class, class/good or class/train"""


_TEST_IMAGES = (
    "Test images are good ones in class/test/good and defective ones in class/test/<kind>; they "
    "measure a model. Without any, `omnial predict` gives verdicts on pictures from anywhere."
)


class Layout(Protocol):
    """One way in which data sets lay out the folder of a class."""

    def is_class(self, folder: Path, /) -> bool:
        """Whether what lies in or next to a folder shows that it is a class of this layout."""

    def read_class(self, folder: Path, /) -> ProductClass:
        """Read one class's folder, or raise a `UserError` that says what is wrong."""


_LAYOUTS: Final[tuple[Layout, ...]] = (visa, real_iad, kolektor, folders)
"""The first that recognises a folder reads it; a folder that none does is one of images."""


def discover(roots: Sequence[Path], *, need: Need, named: bool = True) -> Catalogue:
    """Find the product classes below some folders, sorted by name.

    Layouts may be mixed. No image is opened but the masks of KolektorSDD2. A warning says how many
    pictures below the folders belong to no class, and where they are.

    With `train`, every class must have training images; with `test`, classes without test images
    are left out with a warning, and one must have some; with `any`, some image is enough. `named`
    classes keep the names of their folders, which must not be those of parts such as `good`.
    """
    if not roots:
        raise UserError("no data: name at least one folder")
    products = sorted(
        (product for root in roots for product in _read_root(root)),
        key=lambda product: product.name,
    )
    warn_of_left_out(roots, [path for product in products for path in product.files])
    for product in products if named else ():
        _refuse_part(product)
    _check(products)
    return Catalogue(tuple(_having(products, need)))


def _read_root(root: Path) -> list[ProductClass]:
    if not os.path.isdir(root):
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise UserError(f"the data folder {root} {what}")
    if root.name in ("", ".."):
        # Classes are called as their folders, so "." needs its name; a link keeps its own.
        root = Path(os.path.abspath(root))
    if all_own(root):
        raise UserError(f"{root} holds results that omnial wrote; name the folder of the data")
    root = real_iad.folder_of_classes(root)
    products = visa.read_root(root)
    if not products and _layout_of(root) is not None:
        return [_read_class(root)]
    named = {product.name for product in products}
    others = [folder for folder in subfolders(root) if folder.name not in named]
    # Images next to folders of classes are strays; without such folders they are a plain class.
    if not products and not any(map(_layout_of, others)) and image_files(root):
        return [_read_class(root)]
    members = [folder for folder in others if _layout_of(folder) or image_files(folder)]
    products += [_read_class(folder) for folder in members]
    if not products:
        if below := _roots_below(root):
            raise UserError(f"{root} holds no product classes, but these do:\n{listed(below)}")
        warn_of_left_out([root], [])
        raise UserError(f"{root} holds no product classes.\n{_EXPECTED}")
    return products


def _roots_below(root: Path) -> list[Path]:
    """Folders one or two below that hold classes, where a user named one too far up."""
    near = subfolders(root)
    all_ = [*near, *(inner for folder in near for inner in subfolders(folder))]
    outside = [folder for folder in all_ if _layout_of(folder) is None]
    return [folder for folder in outside if any(map(_layout_of, subfolders(folder)))]


def _refuse_part(product: ProductClass) -> None:
    """Refuse a folder within a product's, such as `train/good`, as a product called `good`."""
    above = product.root.absolute()
    while structure(above.name) in ("train", "test") or is_good(above.name):
        above = above.parent
    if product.layout == "plain folder" and above != product.root.absolute():
        raise UserError(
            f"{product.root} would be a product called {product.name}, but by its name it is a "
            f"folder of pictures within a product's. Name the product's folder, here {above}, or "
            f"call {product.name} after its product."
        )


def _layout_of(folder: Path) -> Layout | None:
    return next((layout for layout in _LAYOUTS if layout.is_class(folder)), None)


def _read_class(folder: Path) -> ProductClass:
    return (_layout_of(folder) or folders).read_class(folder)


def _check(products: Sequence[ProductClass]) -> None:
    """Refuse classes of one name or of unwritable names; warn of odd files."""
    for first, second in pairwise(products):
        if first.name == second.name:
            raise UserError(
                f"two classes are called {first.name}: {first.root} and {second.root}; rename "
                "one of the folders, or name only one of them"
            )
    for product in products:
        # The model folder, the tables and the report could not hold them.
        bad = [kind for kind in sorted({r.kind for r in product.test}) if not is_line(kind)]
        if not is_plain_name(product.name):
            bad.insert(0, product.name)
        if bad:
            raise UserError(
                f"{shown(product.root)}: the class or kind {bad[0]!a} has bytes in its name that "
                "are no UTF-8, or control characters, line breaks or a backslash; rename the folder"
            )
        odd = [record.path for record in product.train if is_defective(record.path.stem)]
        # Where all are called so, it is the product's name.
        if 0 < len(odd) < len(product.train):
            _logger.warning(
                f"{len(odd)} of the {len(product.train)} training images of {product.name} are "
                f"called defective, and are learnt as good; if they are not, move them to "
                f"{product.root / 'test' / '<kind>'} before training:\n{listed(odd)}"
            )


def _having(products: Sequence[ProductClass], need: Need) -> list[ProductClass]:
    """The classes that have the images that are needed; refuse others, see `discover`."""
    found = [
        product
        for product in products
        if (need != "test" and product.train) or (need != "train" and product.test)
    ]
    lacking = [product for product in products if product not in found]
    if lacking and need == "test" and found:
        names = ", ".join(product.name for product in lacking)
        _logger.warning("without test images, and so not measured: %s", names)
    elif lacking:
        classes = listed([f"{product.name} ({product.root})" for product in lacking])
        kind = {"train": "training ", "test": "test ", "any": ""}[need]
        where = _TEST_IMAGES if need == "test" else _EXPECTED
        raise UserError(f"these classes have no {kind}images:\n{classes}\n{where}")
    return found
