"""Layouts in which folders say what an image is: MVTec AD, and plain folders of images.

    class/train/good/x.png                     defect-free training images (MVTec AD)
    class/test/good/y.png                      defect-free test images
    class/test/<kind>/z.png                    defective test images
    class/ground_truth/<kind>/z_mask.png       their masks (or z.png)
    class/roi.png                              region of interest, if any

BTAD (`train/ok`, `test/ko`) and MPDD have this layout; MVTec AD 2 calls the folder of test images
`test_public`, and has the masks in it, in `test_public/ground_truth/bad`.

In a plain folder the training images may lie in `class/train`, `class/good` or in `class` itself,
and all test images directly in `class/test`, where those with a mask (directly in the folder of
masks) are the defective ones. Masks may also lie next to their test images. Folders have any name
that `omnial.data.names` knows: `Train/OK` is `train/good`, `masks` is `ground_truth`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from omnial.data.listing import find_roi, image_files, is_picture, is_roi, listed, subfolders
from omnial.data.names import (
    Structure,
    image_of_mask,
    is_defective,
    is_either,
    is_good,
    is_unclear_kind,
    structure,
)
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.errors import UserError

FLAT_KIND = "defect"
"""Kind of a defective image that lies in no folder of its kind."""


def is_class(folder: Path) -> bool:
    """Whether sub-folders show that this is the folder of one class."""
    named = any(structure(path.name) in ("train", "test") for path in subfolders(folder))
    return named or bool(_good_folders(folder))


def read_class(folder: Path) -> ProductClass:
    """Read one class; `train` or `test` is empty where there are no such images."""
    name = folder.name
    if not is_class(folder) and (what := _is_no_product(name)):
        raise UserError(
            f"{folder}: by its name it holds {what}, but its images would be learnt as "
            "defect-free ones of a product. Defective images go to class/test/<kind> and masks "
            f"to class/ground_truth/<kind>; if {name} is a product, move its defect-free images "
            f"to {folder / 'train' / GOOD}"
        )
    train = tuple(ImageRecord(path, name, "train", GOOD) for path in _training_images(folder))
    found = _called(folder, "test")
    layout = "MVTec AD" if found or _called(folder, "train") else "plain folder"
    if found and found.name == "test_public":
        layout = "MVTec AD 2"
    test = _test_records(folder, found or folder / "test", name)
    return ProductClass(name, folder, train, test, find_roi(folder), layout)


def _is_no_product(name: str) -> str:
    """What a folder of this name holds instead of a product; empty for a product."""
    if structure(name) == "masks":
        return "masks"
    if is_defective(name):
        return "defective images"
    return "either kind" if is_either(name) else ""


def _good_folders(folder: Path) -> list[Path]:
    """Sub-folders of defect-free images, as against a product that has such a name."""
    return [path for path in subfolders(folder) if is_good(path.name) and not is_class(path)]


def _called(folder: Path, what: Structure) -> Path | None:
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
    if unclear := [path for path in others if image_files(path) or is_class(path)]:
        raise UserError(
            f"{base}: it is unclear what the images in these folders are. Training images are "
            f"defect-free and lie in train/good; defective ones go to test/<kind> next to train:\n"
            f"{listed(unclear)}"
        )
    for place in good:
        _refuse_hollow(place)
    images = found[used[0]] if used else []
    if masks := list(split_pairs(images)[1].values()):
        raise UserError(
            "these look like masks of the images next to them, but training images are "
            "defect-free and have none. Move defective images to test/<kind> with their masks, "
            f"and the other masks away:\n{listed(masks)}"
        )
    return images


def _test_records(folder: Path, test: Path, name: str) -> tuple[ImageRecord, ...]:
    root, kinds = _called(folder, "masks"), subfolders(test)
    if root is None and (inner := _called(test, "masks")) and not image_files(inner):
        root = inner
        kinds.remove(inner)
    records: list[ImageRecord] = []
    for kind in kinds:
        label = _label(kind)
        _refuse_hollow(kind)
        images, masks = split_pairs(image_files(kind))
        if label == GOOD:
            masks = {}
        elif (place := _mask_folder(root, kind.name)) is not None or masks:
            masks = _find_masks(images, masks, place)
            if missing := [path for path in images if path not in masks]:
                raise UserError(
                    f"these defective images have no mask in {place or kind} (<name>_mask.png); "
                    "add their masks, or remove that folder to score the images only:\n"
                    f"{listed(missing)}"
                )
        records += [ImageRecord(path, name, "test", label, masks.get(path)) for path in images]
    known = {kind.name.casefold() for kind in kinds}
    for orphan in subfolders(root) if root is not None else ():
        if orphan.name.casefold() not in known and not is_good(orphan.name) and image_files(orphan):
            raise UserError(
                f"{orphan} holds masks, but {test / orphan.name} does not exist; add the "
                "images, or remove the masks"
            )
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
    masks = _find_masks(images, adjacent, root)
    if images and (not masks or any(image_files(kind) for kind in subfolders(test))):
        raise UserError(
            f"{test}: it is unknown which of the images in it are defective; sort them into "
            f"{test / GOOD} and {test / '<kind>'}, or, if all test images lie there, put masks "
            f"into {test.parent / 'ground_truth'}:\n{listed(images)}"
        )
    return [
        ImageRecord(path, name, "test", FLAT_KIND if path in masks else GOOD, masks.get(path))
        for path in images
    ]


def _mask_folder(root: Path | None, kind: str) -> Path | None:
    """The folder of a kind's masks below the folder of masks, in whatever case."""
    folders = [] if root is None else subfolders(root)
    alike = [path for path in folders if path.name.casefold() == kind.casefold()]
    return min(alike, key=lambda path: path.name != kind, default=None)


def split_pairs(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Images, and the masks next to them by image, such as `0_label.bmp` of `0.jpg`."""
    by_stem = {path.stem: path for path in paths}
    masks = {by_stem[stem]: path for path in paths if (stem := image_of_mask(path.stem)) in by_stem}
    used = set(masks.values())
    images = [path for path in paths if path not in used]
    return images, {image: masks[image] for image in images if image in masks}


def _find_masks(
    images: Sequence[Path], adjacent: dict[Path, Path], folder: Path | None
) -> dict[Path, Path]:
    """The masks of those images that have one, next to them or in a folder of masks."""
    files = [] if folder is None else image_files(folder)
    if adjacent and files:
        raise UserError(
            f"there are masks in {folder} and next to the images; keep one of the two:\n"
            f"{listed(list(adjacent.values()))}"
        )
    named = {path.stem: path for path in files}
    named |= {stem: path for path in files if (stem := image_of_mask(path.stem)) is not None}
    masks = adjacent or {image: named[image.stem] for image in images if image.stem in named}
    used = set(masks.values())
    if orphans := [path for path in files if path not in used]:
        raise UserError(
            f"{folder}: these masks belong to no image of the same name; remove them, or add "
            f"their images:\n{listed(orphans)}"
        )
    return masks
