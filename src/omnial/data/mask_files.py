"""The mask of each test image: next to its image, or in a folder of masks."""

from collections.abc import Sequence
from pathlib import Path

from omnial.data.listing import image_files, listed, subfolders
from omnial.data.names import image_of_mask, is_good, structure
from omnial.errors import UserError


def mask_root(folder: Path) -> Path | None:
    """The class's folder of masks, if any.

    Raises:
        UserError: there are two.
    """
    found = [path for path in subfolders(folder) if structure(path.name) == "masks"]
    if len(found) > 1:
        raise UserError(f"{folder} has two folders of masks; keep one:\n{listed(found)}")
    return found[0] if found else None


def mask_folder(root: Path | None, kind: str) -> Path | None:
    """The folder of a kind's masks below the folder of masks, in whatever case."""
    folders = [] if root is None else subfolders(root)
    same = [path for path in folders if path.name == kind]
    alike = [path for path in folders if path.name.casefold() == kind.casefold()]
    return next(iter(same or alike), None)


def split_pairs(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Separate images from masks next to them, such as `0.jpg` and `0_label.bmp`.

    Returns:
        The images, and the mask of each that has one.
    """
    by_stem = {path.stem: path for path in paths}
    masks = {by_stem[stem]: path for path in paths if (stem := image_of_mask(path.stem)) in by_stem}
    used = set(masks.values())
    images = [path for path in paths if path not in used]
    return images, {image: masks[image] for image in images if image in masks}


def find_masks(
    images: Sequence[Path], adjacent: dict[Path, Path], folder: Path | None
) -> dict[Path, Path]:
    """Give each image its mask; not every image need have one.

    Args:
        images: test images.
        adjacent: masks in the same folder, see `split_pairs`.
        folder: folder of masks, called `<stem>_mask` or the like, or `<stem>`.

    Raises:
        UserError: there are masks in both folders, or one without an image.
    """
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
    orphans = [path for path in files if path not in used]
    if orphans:
        raise UserError(
            f"{folder}: these masks belong to no image of the same name; remove them, or add "
            f"their images:\n{listed(orphans)}"
        )
    return masks


def require_masks(images: Sequence[Path], masks: dict[Path, Path], folder: Path) -> None:
    """Refuse to score some images of a kind with their masks and others without.

    Raises:
        UserError: an image has none in the folder where others have theirs.
    """
    missing = [path for path in images if path not in masks]
    if missing:
        raise UserError(
            f"these defective images have no mask in {folder} (<name>_mask.png); add "
            f"their masks, or remove that folder to score the images only:\n{listed(missing)}"
        )


def refuse_pairs(images: Sequence[Path]) -> None:
    """Refuse masks among training images.

    Raises:
        UserError: there are some.
    """
    masks = list(split_pairs(images)[1].values())
    if masks:
        raise UserError(
            "these look like masks of the images next to them, but training images are "
            "defect-free and have none. Move defective images to test/<kind> with their masks, "
            f"and the other masks away:\n{listed(masks)}"
        )


def refuse_orphans(test: Path, root: Path, kinds: set[str]) -> None:
    """Refuse folders of masks whose folder of images is not there.

    Raises:
        UserError: there is one.
    """
    for folder in subfolders(root):
        known = folder.name.casefold() in kinds or is_good(folder.name)
        if not known and image_files(folder):
            raise UserError(
                f"{folder} holds masks, but {test / folder.name} does not exist; add the "
                "images, or remove the masks"
            )
