"""Scores of normal images, class by class: what thresholds and drift checks rest on."""

from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from omnial.data.cache import content_digest
from omnial.data.image_file import ImageError
from omnial.data.layouts import discover
from omnial.data.listing import listed
from omnial.data.records import BadFile, ImageRecord
from omnial.errors import UserError
from omnial.inference.inspector import Inspector, Tile
from omnial.model_folder.config_file import short_digest


class NormalScores(NamedTuple):
    """What was scored."""

    scores: dict[str, list[float]]
    """Image scores of each class in the data."""
    trained: dict[str, int]
    """Images of each class that were left out: the network was trained on them."""
    bad_files: list[BadFile]
    """Files that could not be read, which were left out."""


def score_normals(
    inspector: Inspector,
    roots: Sequence[Path],
    trained: Container[bytes],
    *,
    class_name: str | None = None,
    tile: Tile = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> NormalScores:
    """Score the normal training images of data folders.

    An image that the network was trained on scores lower than a new one, and is of no use here:
    it is left out, wherever it lies and whatever it is called.

    Args:
        inspector: The model.
        roots: Data folders, see `omnial.data.layouts.discover`. Test images are not touched.
        trained: Digests of the files that the network was trained on, see `short_digest`.
        class_name: The product on all images; None takes the folders' names.
        tile: See `Inspector.inspect`.
        on_progress: Told the number of images done and of all.

    Raises:
        UserError: There are no such images, none can be used, the network was trained on all of
            them, or the model does not know a class.
    """
    inspector.check_class(class_name)
    chosen: dict[str, list[ImageRecord]] = {}
    left_out: dict[str, int] = {}
    for product in discover(roots, need="train").classes:
        name = class_name or product.name
        if name not in inspector.classes:
            raise UserError(
                f"{product.root}: the model does not know the class {name!r}. Its classes are "
                f"{', '.join(inspector.classes)}; name one of them with --class."
            )
        new = [record for record in product.train if not _is_trained(record, trained)]
        chosen.setdefault(name, []).extend(new)
        left_out[name] = left_out.get(name, 0) + len(product.train) - len(new)
    return _score(inspector, chosen, left_out, tile, on_progress)


def _is_trained(record: ImageRecord, trained: Container[bytes]) -> bool:
    """Whether the network was trained on this file, or on a copy of it."""
    digest = content_digest(record.path)
    return digest is not None and short_digest(digest) in trained


def _score(
    inspector: Inspector,
    chosen: Mapping[str, Sequence[ImageRecord]],
    left_out: dict[str, int],
    tile: Tile,
    on_progress: Callable[[int, int], None] | None,
) -> NormalScores:
    total, done = sum(map(len, chosen.values())), 0
    if total == 0:
        raise UserError(
            "No image is left: the network was trained on all of these. Name a folder of other "
            "normal images."
        )
    scores: dict[str, list[float]] = {name: [] for name in chosen}
    bad_files: list[BadFile] = []
    with ThreadPoolExecutor(inspector.workers) as pool:
        for name, records in chosen.items():
            paths = [record.path for record in records]
            for result in inspector.judge(paths, name, tile=tile, pool=pool):
                if isinstance(result, ImageError):
                    bad_files.append(BadFile(result.path, result.reason))
                else:
                    scores[name].append(result.score)
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
    if not any(scores.values()):
        reasons = listed([f"{bad.path}: {bad.reason}" for bad in bad_files])
        raise UserError(f"none of the images can be used:\n{reasons}")
    return NormalScores(scores, left_out, bad_files)
