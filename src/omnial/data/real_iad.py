"""The Real-IAD layout, in which a JSON list says what an image is.

    root/realiad_jsons/<class>.json             its images, split in train and test
    root/realiad_1024/<class>/OK/S0001/x.jpg
    root/realiad_1024/<class>/NG/<kind>/S0001/y.jpg, y.png (its mask)

The lists of all views may also lie in `realiad_jsons/realiad_jsons`, as their archive has them.
Classes may lie next to the lists, or at another size: `realiad_256`, `realiad_512`.
"""

import os
from pathlib import Path

from pydantic import BaseModel, ValidationError

from omnial.data.listing import listed, subfolders
from omnial.data.records import GOOD, ProductClass
from omnial.data.table_rows import Row, class_from_rows
from omnial.errors import UserError

_LISTS = "realiad_jsons"


class _Image(BaseModel):
    anomaly_class: str
    image_path: str
    mask_path: str | None = None


class _Meta(BaseModel):
    normal_class: str


class _List(BaseModel):
    meta: _Meta
    train: list[_Image]
    test: list[_Image]


def folder_of_classes(root: Path) -> Path:
    """The folder of classes in a root of Real-IAD; any other root as it is."""
    sizes = [path for path in subfolders(root) if path.name.startswith("realiad_")]
    sizes = [path for path in sizes if not path.name.startswith(_LISTS)]
    if not sizes or not (root / _LISTS).is_dir():
        return root
    if len(sizes) > 1:
        raise UserError(f"{root} has the images in several sizes; name one:\n{listed(sizes)}")
    return sizes[0]


def is_class(folder: Path) -> bool:
    """Whether a list describes the folder."""
    return _list_of(folder) is not None


def read_class(folder: Path) -> ProductClass:
    """Read one class's folder, for which `is_class` holds."""
    path = _list_of(folder)
    assert path is not None
    try:
        content = _List.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{path} is no list of Real-IAD: {place}: {first['msg']}") from error
    normal = content.meta.normal_class
    rows = [
        Row(
            f"{path}, {split} image {number}",
            {
                "split": split,
                "image": image.image_path,
                "label": GOOD if image.anomaly_class == normal else image.anomaly_class,
                "mask": image.mask_path or "",
            },
        )
        for split, images in (("train", content.train), ("test", content.test))
        for number, image in enumerate(images, start=1)
    ]
    return class_from_rows(path, rows, folder.name, folder, (folder,), "Real-IAD")


def _list_of(folder: Path) -> Path | None:
    above = Path(os.path.abspath(folder)).parent
    lists = [base / _LISTS for base in (above, above.parent)]
    paths = [place / f"{folder.name}.json" for base in lists for place in (base, base / _LISTS)]
    return next((path for path in paths if path.is_file()), None)
