"""Layouts in which folders say what an image is: MVTec AD, and plain folders of images.

    class/train/good/x.png                     defect-free training images (MVTec AD)
    class/test/good/y.png                      defect-free test images
    class/test/<kind>/z.png                    defective test images
    class/ground_truth/<kind>/z_mask.png       their masks (or z.png)
    class/roi.png                              region of interest, if any

In a plain folder the training images may lie in `class/train`, `class/good`, `class/normal` or
in `class` itself, masks also in `class/masks`, and all test images directly in `class/test`,
where those with a mask (directly in the folder of masks) are the defective ones.
"""

from pathlib import Path

from omnial.data.listing import find_roi, image_files, is_roi, listed, subfolders
from omnial.data.records import GOOD, ImageRecord, ProductClass
from omnial.errors import UserError

_NORMAL = (GOOD, "normal")
_MASKS = ("ground_truth", "masks")
_MASK_SUFFIX = "_mask"
_FLAT_KIND = "defect"
"""Kind of a defective image that lies in no folder of its kind."""
_KNOWN = frozenset({"train", "test", *_NORMAL, *_MASKS})


def has_class_folders(folder: Path) -> bool:
    """True if sub-folders show that this is the folder of one class."""
    return any((folder / name).is_dir() for name in ("train", "test", *_NORMAL))


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
    paths = _training_images(folder)
    train = tuple(ImageRecord(path, name, "train", GOOD) for path in paths)
    return ProductClass(name, folder, train, _test_records(folder, name), find_roi(folder))


def _training_images(folder: Path) -> list[Path]:
    """Images of the one place that holds training images; other folders of images are errors."""
    train = folder / "train"
    base, known = (train, frozenset(_NORMAL)) if train.is_dir() else (folder, _KNOWN)
    found = {place: image_files(place) for place in (base, *(base / name for name in _NORMAL))}
    if base == folder:
        found[folder] = [path for path in found[folder] if not is_roi(path)]
    used = [place for place, images in found.items() if images]
    if len(used) > 1:
        raise UserError(
            f"{base}: defect-free training images are expected in one folder, but there are "
            f"images in several; keep one:\n{listed(used)}"
        )
    strangers = [p for p in subfolders(base) if p.name not in known and image_files(p)]
    if strangers:
        raise UserError(
            f"{base}: it is unclear what the images in these folders are. Training images are "
            f"defect-free and lie in train/good; defective ones go to test/<kind> beside train:\n"
            f"{listed(strangers)}"
        )
    return found[used[0]] if used else []


def _test_records(folder: Path, name: str) -> tuple[ImageRecord, ...]:
    test = folder / "test"
    mask_root = _mask_root(folder)
    records: list[ImageRecord] = []
    kinds = subfolders(test)
    for kind in kinds:
        images = image_files(kind)
        label = GOOD if kind.name in _NORMAL else kind.name
        masks = None
        if label != GOOD and mask_root is not None and (mask_root / kind.name).is_dir():
            masks = _match_masks(images, mask_root / kind.name)
            _require_masks(images, masks, mask_root / kind.name)
        records += [
            ImageRecord(path, name, "test", label, masks[path] if masks else None)
            for path in images
        ]
    if mask_root is not None:
        _refuse_orphans(test, mask_root, {kind.name for kind in kinds})
    records += _flat_records(test, mask_root, name)
    return tuple(sorted(records, key=lambda record: (record.kind, record.path)))


def _flat_records(test: Path, mask_root: Path | None, name: str) -> list[ImageRecord]:
    """Test images directly in `test`: defective where they have a mask."""
    images = image_files(test)
    masks = _match_masks(images, mask_root) if mask_root is not None else {}
    if images and (not masks or any(image_files(kind) for kind in subfolders(test))):
        raise UserError(
            f"{test}: it is unknown which of the images in it are defective; sort them into "
            f"{test / GOOD} and {test / '<kind>'}, or, if all test images lie there, put masks "
            f"into {test.parent / _MASKS[0]}:\n{listed(images)}"
        )
    return [
        ImageRecord(path, name, "test", _FLAT_KIND if path in masks else GOOD, masks.get(path))
        for path in images
    ]


def _mask_root(folder: Path) -> Path | None:
    found = [folder / name for name in _MASKS if (folder / name).is_dir()]
    if len(found) > 1:
        raise UserError(f"{folder} has two folders of masks; keep one:\n{listed(found)}")
    return found[0] if found else None


def _match_masks(images: list[Path], folder: Path) -> dict[Path, Path]:
    """Give each image its mask, `<stem>_mask` or `<stem>`; not every image need have one."""
    by_stem = {path.stem: path for path in image_files(folder)}
    matched: dict[Path, Path] = {}
    for image in images:
        named = [
            by_stem[stem] for stem in (image.stem + _MASK_SUFFIX, image.stem) if stem in by_stem
        ]
        if named:
            matched[image] = named[0]
    used = set(matched.values())
    orphans = [path for path in image_files(folder) if path not in used]
    if orphans:
        raise UserError(
            f"{folder}: these masks belong to no image of the same name; remove them, or add "
            f"their images:\n{listed(orphans)}"
        )
    return matched


def _require_masks(images: list[Path], masks: dict[Path, Path], folder: Path) -> None:
    missing = [path for path in images if path not in masks]
    if missing:
        raise UserError(
            f"these defective images have no mask in {folder} (<name>{_MASK_SUFFIX}.png); add "
            f"their masks, or remove that folder to score the images only:\n{listed(missing)}"
        )


def _refuse_orphans(test: Path, mask_root: Path, kinds: set[str]) -> None:
    """Refuse folders of masks whose folder of images is not there."""
    for folder in subfolders(mask_root):
        if folder.name not in kinds and folder.name not in _NORMAL and image_files(folder):
            raise UserError(
                f"{folder} holds masks, but {test / folder.name} does not exist; add the "
                "images, or remove the masks"
            )
