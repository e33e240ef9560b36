"""Scores of normal images, class by class: what thresholds and drift checks rest on."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from omnial.data.image_file import ImageError
from omnial.data.layouts import discover
from omnial.data.listing import listed
from omnial.data.records import BadFile, ImageRecord
from omnial.data.split import split_validation
from omnial.errors import UserError
from omnial.inference.inspector import Inspector, Tile

Which: TypeAlias = Literal["auto", "held-out", "all"]
"""Of a class's normal images: those that the training held out, or all; `auto`: held out where
the folder is the one that was trained on, else all."""


class NormalScores(NamedTuple):
    """What was scored."""

    scores: dict[str, list[float]]
    """Image scores of each class in the data."""
    used: dict[str, Literal["held-out", "all"]]
    """Which of its images were taken."""
    bad_files: list[BadFile]
    """Files that could not be read, which were left out."""


def score_normals(
    inspector: Inspector,
    roots: Sequence[Path],
    *,
    class_name: str | None = None,
    which: Which = "auto",
    tile: Tile = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> NormalScores:
    """Score the normal training images of data folders.

    An image that the network was trained on scores lower than a new one, and is of no use here:
    hence the choice of images.

    Args:
        inspector: The model.
        roots: Data folders, see `omnial.data.layouts.discover`. Test images are not touched.
        class_name: The product on all images; None takes the folders' names.
        which: Which of the images.
        tile: See `Inspector.inspect`.
        on_progress: Told the number of images done and of all.

    Raises:
        UserError: There are no such images, none can be used, or the model does not know a class.
    """
    inspector.check_class(class_name)
    chosen: dict[str, list[ImageRecord]] = {}
    used: dict[str, Literal["held-out", "all"]] = {}
    for product in discover(roots, need="train").classes:
        name = class_name or product.name
        if name not in inspector.classes:
            raise UserError(
                f"{product.root}: the model does not know the class {name!r}. Its classes are "
                f"{', '.join(inspector.classes)}; name one of them with --class."
            )
        known = (
            which if which != "auto" else _recognise_data(inspector.training, name, product.train)
        )
        records = list(product.train)
        if known == "held-out":
            settings = inspector.settings
            records = split_validation(records, settings.data, settings.training.seed)[1]
        chosen.setdefault(name, []).extend(records)
        used[name] = known
    return _score(inspector, chosen, used, tile, on_progress)


def _recognise_data(
    training: Mapping[str, object], name: str, records: Sequence[ImageRecord]
) -> Literal["held-out", "all"]:
    """Whether a class has exactly as many images as it had in the training."""
    counts = [training.get(key) for key in ("training_images", "validation_images")]
    trained = sum(count.get(name, 0) for count in counts if isinstance(count, Mapping))
    return "held-out" if trained == len(records) else "all"


def _score(
    inspector: Inspector,
    chosen: Mapping[str, Sequence[ImageRecord]],
    used: dict[str, Literal["held-out", "all"]],
    tile: Tile,
    on_progress: Callable[[int, int], None] | None,
) -> NormalScores:
    total, done = sum(map(len, chosen.values())), 0
    if total == 0:
        raise UserError(
            "No image is left: the training held none of these out. Name a folder of other "
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
    return NormalScores(scores, used, bad_files)
