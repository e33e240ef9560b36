"""The KolektorSDD2 layout: every image has a mask next to it, which is black where it is good.

    class/train/10000.png, 10000_GT.png
    class/test/20000.png, 20000_GT.png

A model learns from good images alone: the defective ones among those for training are not used.
"""

import logging
from pathlib import Path
from typing import Literal

from omnial.data.decode import is_black
from omnial.data.folders import FLAT_KIND, split_pairs
from omnial.data.listing import find_roi, image_files, listed
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.errors import UserError

_logger = logging.getLogger(__name__)


def is_class(folder: Path) -> bool:
    """Whether masks lie next to the images for training and those for testing."""
    return all(
        any(path.stem.endswith("_GT") for path in image_files(folder / split))
        for split in ("train", "test")
    )


def read_class(folder: Path) -> ProductClass:
    """Read one class's folder, for which `is_class` holds; all masks are opened."""
    train, masks = _records(folder, "train")
    test, more = _records(folder, "test")
    good = tuple(record for record in train if not record.anomalous)
    defective = [record.path for record in train if record.anomalous]
    if defective:
        _logger.info(
            f"{len(defective)} of the {len(train)} images in {folder / 'train'} are defective by "
            "their masks, and not used: a model learns from good images alone"
        )
    used = {record.mask for record in test}
    unused = (*defective, *(mask for mask in (*masks, *more) if mask not in used))
    return ProductClass(folder.name, folder, good, test, find_roi(folder), "KolektorSDD2", unused)


def _records(
    folder: Path, split: Literal["train", "test"]
) -> tuple[tuple[ImageRecord, ...], list[Path]]:
    """The images for training or testing, and all masks, black ones too."""
    images, masks = split_pairs(image_files(folder / split))
    if missing := [path for path in images if path not in masks]:
        raise UserError(
            f"these images have no mask next to them (<name>_GT.png), so that it is unknown which "
            f"are defective; add their masks, or remove them:\n{listed(missing)}"
        )
    kinds = {path: GOOD if is_black(mask) else FLAT_KIND for path, mask in masks.items()}
    records = (
        ImageRecord(path, folder.name, split, kind, masks[path] if kind != GOOD else None)
        for path, kind in kinds.items()
    )
    in_order = sorted(records, key=lambda record: (record.kind, record.path))
    return tuple(in_order), list(masks.values())
