"""Layouts in which folders say what an image is: MVTec AD, and plain folders of images.

    class/train/good/x.png                     defect-free training images (MVTec AD)
    class/test/good/y.png                      defect-free test images
    class/test/<kind>/z.png                    defective test images
    class/ground_truth/<kind>/z_mask.png       their masks (or z.png)
    class/roi.png                              region of interest, if any

In a plain folder the training images may lie in `class/train`, `class/good` or in `class` itself,
and all test images directly in `class/test`, where those with a mask (directly in the folder of
masks) are the defective ones. Masks may also lie next to their test images. Folders have any name
that `omnial.data.names` knows: `Train/OK` is `train/good`, `masks` is `ground_truth`.
"""

import os
from pathlib import Path

from omnial.data.left_out import is_picture
from omnial.data.listing import find_roi, image_files, is_roi, listed, subfolders
from omnial.data.mask_files import (
    find_masks,
    mask_folder,
    mask_root,
    refuse_orphans,
    refuse_pairs,
    require_masks,
    split_pairs,
)
from omnial.data.names import (
    Structure,
    is_defective,
    is_either,
    is_good,
    is_unclear_kind,
    structure,
)
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.errors import UserError

_FLAT_KIND = "defect"
"""Kind of a defective image that lies in no folder of its kind."""


def has_class_folders(folder: Path) -> bool:
    """True if sub-folders show that this is the folder of one class."""
    named = any(structure(path.name) in ("train", "test") for path in subfolders(folder))
    return named or bool(_good_folders(folder))


def read_folders(folder: Path, name: str) -> ProductClass:
    """Read one class from its folder.

    Args:
        folder: the class's folder.
        name: the class's name.

    Returns:
        The class; `train` or `test` is empty where there are no such images.

    Raises:
        UserError: it is unclear what some images are, or images and masks do not match.
    """
    if not has_class_folders(folder):
        _refuse_no_product(folder, name)
    paths = _training_images(folder)
    train = tuple(ImageRecord(path, name, "train", GOOD) for path in paths)
    return ProductClass(name, folder, train, _test_records(folder, name), find_roi(folder))


def _refuse_no_product(folder: Path, name: str) -> None:
    """Refuse a folder of images that would be learnt as a product against its name."""
    masks = structure(name) == "masks"
    if masks or is_defective(name) or is_either(name):
        what = "masks" if masks else "defective images" if is_defective(name) else "either kind"
        raise UserError(
            f"{folder}: by its name it holds {what}, but its images would be learnt as "
            "defect-free ones of a product. Defective images go to class/test/<kind> and masks "
            f"to class/ground_truth/<kind>; if {name} is a product, move its defect-free images "
            f"to {folder / 'train' / GOOD}"
        )


def _good_folders(folder: Path) -> list[Path]:
    """Sub-folders of defect-free images, as against a product that has such a name."""
    return [
        path for path in subfolders(folder) if is_good(path.name) and not has_class_folders(path)
    ]


def _called(folder: Path, what: Structure) -> Path | None:
    """The sub-folder with one of the names for something."""
    found = [path for path in subfolders(folder) if structure(path.name) == what]
    if len(found) > 1:
        raise UserError(f"{folder} has two folders for {what}; keep one:\n{listed(found)}")
    return found[0] if found else None


def _training_images(folder: Path) -> list[Path]:
    """Images of the one place that holds training images; other folders of images are errors."""
    train = _called(folder, "train")
    base = train or folder
    good = _good_folders(base)
    known = {*good, *(path for path in subfolders(folder) if structure(path.name) is not None)}
    found = {place: image_files(place) for place in (base, *good)}
    if base == folder:
        found[folder] = [path for path in found[folder] if not is_roi(path)]
    used = [place for place, images in found.items() if images]
    if len(used) > 1:
        raise UserError(
            f"{base}: defect-free training images are expected in one folder, but there are "
            f"images in several; keep one:\n{listed(used)}"
        )
    others = [path for path in subfolders(base) if path not in known]
    strangers = [path for path in others if image_files(path) or has_class_folders(path)]
    if strangers:
        raise UserError(
            f"{base}: it is unclear what the images in these folders are. Training images are "
            f"defect-free and lie in train/good; defective ones go to test/<kind> next to train:\n"
            f"{listed(strangers)}"
        )
    for place in good:
        _refuse_hollow(place)
    images = found[used[0]] if used else []
    refuse_pairs(images)
    return images


def _test_records(folder: Path, name: str) -> tuple[ImageRecord, ...]:
    test = _called(folder, "test") or folder / "test"
    root = mask_root(folder)
    records: list[ImageRecord] = []
    kinds = subfolders(test)
    for kind in kinds:
        label = _label(kind)
        _refuse_hollow(kind)
        images, masks = split_pairs(image_files(kind))
        if label == GOOD:
            masks = {}
        elif (place := mask_folder(root, kind.name)) is not None or masks:
            masks = find_masks(images, masks, place)
            require_masks(images, masks, place or kind)
        records += [ImageRecord(path, name, "test", label, masks.get(path)) for path in images]
    if root is not None:
        refuse_orphans(test, root, {kind.name.casefold() for kind in kinds})
    records += _flat_records(test, root, name)
    return tuple(sorted(records, key=lambda record: (record.kind, record.path)))


def _label(kind: Path) -> str:
    """`good`, or the kind of defect that a folder of test images is called after."""
    if is_good(kind.name):
        return GOOD
    if structure(kind.name) == "masks":
        raise UserError(
            f"{kind} holds masks by its name, not test images; move them to "
            f"{kind.parent.parent / 'ground_truth' / '<kind>'}"
        )
    if is_unclear_kind(kind.name):
        raise UserError(
            f"{kind}: its name does not say whether these images are defect-free; call it "
            f"{GOOD}, or after the kind of defect"
        )
    return kind.name


def _refuse_hollow(folder: Path) -> None:
    """Refuse a folder whose images are all where, or of a kind that, nothing reads."""
    if image_files(folder):
        return
    for place, _, files in os.walk(folder):
        for file in files:
            if is_picture(Path(place, file)):
                raise UserError(
                    f"{folder} has no image directly in it that can be read, but there is "
                    f"{Path(place, file)}; move its images out of sub-folders, and save them as "
                    "PNG, JPEG, BMP, TIFF or WebP"
                )


def _flat_records(test: Path, root: Path | None, name: str) -> list[ImageRecord]:
    """Test images directly in `test`: defective where they have a mask."""
    images, adjacent = split_pairs(image_files(test))
    masks = find_masks(images, adjacent, root)
    if images and (not masks or any(image_files(kind) for kind in subfolders(test))):
        raise UserError(
            f"{test}: it is unknown which of the images in it are defective; sort them into "
            f"{test / GOOD} and {test / '<kind>'}, or, if all test images lie there, put masks "
            f"into {test.parent / 'ground_truth'}:\n{listed(images)}"
        )
    return [
        ImageRecord(path, name, "test", _FLAT_KIND if path in masks else GOOD, masks.get(path))
        for path in images
    ]
