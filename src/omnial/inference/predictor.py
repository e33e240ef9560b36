"""Inspect images: a verdict, a score map, an overlay and a row of `predictions.jsonl` each.

Rows go to `predictions.jsonl.part`, each as soon as its image is done, and the file gets its
name when all are: after an interruption the finished rows are in the `.part` file, their maps
and overlays beside it, and a `predictions.jsonl` is always complete.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from omnial.calibration.thresholds import is_anomalous
from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit, network_input, network_roi, read_rgb
from omnial.data.geometry import Placement, to_source
from omnial.data.image_file import ImageError
from omnial.data.records import BadFile
from omnial.errors import RunError, UserError
from omnial.inference.collect import Source, collect
from omnial.inference.outlines import Outline, outlines
from omnial.inference.overlay import overlay
from omnial.models.folder import JSON, TrainedModel
from omnial.models.runner import inspect_batch, restrict

PREDICTIONS_FILE = "predictions.jsonl"
SMALLEST_REGION = 4
"""Regions of fewer network pixels are specks, and not outlined. [O]"""

Row = dict[str, JSON]

_BATCH_PIXELS = 50_000_000
"""Source pixels that end a batch early: large images wait for their score maps in memory."""
_LONGEST_JPEG = 65_500
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass
class PredictSummary:
    """What came of a prediction."""

    n_images: int = 0
    """Files taken up, the unreadable ones among them."""
    n_anomalous: int = 0
    errors: list[BadFile] = field(default_factory=list)
    """Files that could not be inspected; with any, the command line ends with exit code 1."""


@dataclass(frozen=True)
class _Loaded:
    source: Source
    image: NDArray[np.uint8]
    network: NDArray[Any]
    placement: Placement


@dataclass(frozen=True)
class _Judged:
    loaded: _Loaded
    class_name: str | None
    score: float
    threshold: float
    score_map: NDArray[np.float32]


def predict(
    model: TrainedModel,
    paths: Sequence[Path],
    *,
    out: Path,
    class_name: str | None = None,
    batch_size: int = 8,
    workers: int = 2,
    on_image: Callable[[Row], None] | None = None,
) -> PredictSummary:
    """Inspect images and write what was found.

    Writes into `out`: `predictions.jsonl`, a row an image in the order of the files;
    `maps/NAME.png`, the score map at the source's size, 16 bit, 65535 = probability 1; and
    `overlays/NAME.jpg`, the image with map and outlines. Outlines are in source pixels, with
    whole numbers at pixel centres, and only anomalous images have them: the regions above the
    model's pixel level, or, where that finds none, those above half of the map's peak.

    Args:
        model: From `load_model`.
        paths: Image files and folders.
        out: Folder for the results; files of an earlier run with the same names are replaced.
        class_name: The product; None lets the model recognise it, image by image. An unknown
            product gets the largest threshold and no region of interest.
        batch_size: Images a forward pass.
        workers: Threads that decode, and that write results.
        on_image: Called with each row, in order.

    Returns:
        Counts, and the files that could not be inspected; these have a row with an error.

    Raises:
        UserError: The model does not know the class, a path does not exist, there is no image,
            or `out` cannot be made. Nothing has been written then.
        RunError: A result could not be written.
    """
    if class_name is not None and class_name not in model.classes:
        raise UserError(
            f"The model does not know the class {class_name!r}. "
            f"Its classes are {', '.join(model.classes)}."
        )
    sources = collect(paths, leave_out=[out / "maps", out / "overlays"])
    try:
        for folder in (out / "maps", out / "overlays"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {out} cannot be made: {error}. Name another.") from error
    summary = PredictSummary()
    part = out / (PREDICTIONS_FILE + ".part")
    pool = ThreadPoolExecutor(workers)
    try:
        with part.open("w", encoding="utf-8") as file:
            rows = _rows(model, sources, out, class_name, batch_size, pool, workers)
            for source, row in zip(sources, rows, strict=True):
                file.write(json.dumps(row, allow_nan=False) + "\n")
                file.flush()
                _count(summary, source, row)
                if on_image is not None:
                    on_image(row)
            os.fsync(file.fileno())
        os.replace(part, out / PREDICTIONS_FILE)
    except OSError as error:
        raise RunError(f"The results could not be written to {out}: {error}") from error
    finally:
        pool.shutdown(cancel_futures=True)
    return summary


def _rows(
    model: TrainedModel,
    sources: Sequence[Source],
    out: Path,
    class_name: str | None,
    batch_size: int,
    pool: ThreadPoolExecutor,
    workers: int,
) -> Iterator[Row]:
    """The rows of all sources, in order, the images' results being written on the way."""
    load = partial(_load, settings=model.settings.data)
    finish = partial(_finish, level=model.calibration.pixel, out=out)
    for batch in _batches(_ahead(pool, load, sources, 2 * workers), batch_size):
        loaded = [item for item in batch if isinstance(item, _Loaded)]
        done = pool.map(finish, _judge(model, loaded, class_name) if loaded else [])
        for item in batch:
            if isinstance(item, _Loaded):
                yield next(done)
            else:
                yield _error_row(item, class_name)


def _load(source: Source, settings: DataSettings) -> _Loaded | ImageError:
    try:
        image = read_rgb(source.path, settings)
        network, placement = network_input(image, settings)
    except ImageError as error:
        return ImageError(source.path, error.reason)
    if image.dtype != np.uint8:
        image = np.rint(image * np.float32(255)).astype(np.uint8)
    return _Loaded(source, image, network, placement)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T], depth: int
) -> Iterator[_R]:
    """Map in threads, in order, at most `depth` results ahead of the reader."""
    pending: deque[Future[_R]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) > depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _batches(
    items: Iterable[_Loaded | ImageError], batch_size: int
) -> Iterator[list[_Loaded | ImageError]]:
    """Batches of at most `batch_size` files, ended early by many source pixels."""
    batch: list[_Loaded | ImageError] = []
    pixels = 0
    for item in items:
        batch.append(item)
        if isinstance(item, _Loaded):
            pixels += item.image.shape[0] * item.image.shape[1]
        if len(batch) >= batch_size or pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _judge(model: TrainedModel, loaded: Sequence[_Loaded], class_name: str | None) -> list[_Judged]:
    images = torch.from_numpy(np.stack([as_unit(item.network) for item in loaded]))
    content = np.stack([network_roi(None, item.placement) for item in loaded])
    names: list[str | None] = [class_name] * len(loaded)
    valid = _within_rois(model, content, names)
    inspection = inspect_batch(model, images, torch.from_numpy(valid))
    if class_name is None:
        names = model.recogniser.recognise(inspection.features)
        inspection = restrict(inspection, _within_rois(model, content, names))
    return [
        _Judged(item, name, float(score), model.calibration.threshold_for(name), score_map)
        for item, name, score, score_map in zip(
            loaded, names, inspection.scores, inspection.score_maps, strict=True
        )
    ]


def _within_rois(
    model: TrainedModel, content: NDArray[np.bool_], names: Sequence[str | None]
) -> NDArray[np.bool_]:
    """(B, H, W): the images' content boxes within their classes' regions of interest."""
    regions = [True if name is None else model.rois.get(name, True) for name in names]
    return np.stack([box & region for box, region in zip(content, regions, strict=True)])


def _finish(judged: _Judged, level: float, out: Path) -> Row:
    """Write an image's map and overlay, and make its row."""
    loaded = judged.loaded
    anomalous = is_anomalous(judged.score, judged.threshold)
    score_map = np.clip(to_source(judged.score_map, loaded.placement), 0.0, 1.0)
    found = _defects(judged.score_map, level, loaded.placement) if anomalous else []
    map_name = f"maps/{loaded.source.name}.png"
    levels = np.rint(score_map * np.float32(65535)).astype(np.uint16)
    Image.fromarray(levels).save(out / map_name, compress_level=3)
    picture = Image.fromarray(overlay(loaded.image, score_map, [o.polygon for o in found]))
    suffix = "jpg" if max(picture.size) <= _LONGEST_JPEG else "png"
    picture.save(out / "overlays" / f"{loaded.source.name}.{suffix}", quality=90)
    return {
        "path": str(loaded.source.path),
        "class": judged.class_name,
        "score": judged.score,
        "threshold": judged.threshold,
        "anomalous": anomalous,
        "outlines": [
            {
                "polygon": np.round(outline.polygon, 2).tolist(),
                "area": outline.area,
                "peak": round(outline.peak, 4),
            }
            for outline in found
        ],
        "map": map_name,
        "error": None,
    }


def _defects(score_map: NDArray[np.float32], level: float, placement: Placement) -> list[Outline]:
    """Outlines for an anomalous image, in source pixels: never none, unless the map is zero.

    They are drawn at the network's resolution, which holds all that the map knows, and scaled:
    a source of a hundred megapixels then costs no more than a small one.
    """
    content = score_map[placement.box]
    half = float(content.max()) / 2
    found = (
        outlines(content, level, minimal_area=SMALLEST_REGION)
        or outlines(content, half, minimal_area=SMALLEST_REGION)
        or outlines(content, half)
    )
    across = placement.source_width / placement.inner_width
    down = placement.source_height / placement.inner_height
    # Pixel edges, not centres, keep their place when a frame is stretched.
    return [
        Outline(
            polygon=(polygon + 0.5) * (across, down) - 0.5,
            area=max(1, round(area * across * down)),
            peak=peak,
        )
        for polygon, area, peak in found
    ]


def _error_row(error: ImageError, class_name: str | None) -> Row:
    return {
        "path": str(error.path),
        "class": class_name,
        "score": None,
        "threshold": None,
        "anomalous": None,
        "outlines": [],
        "map": None,
        "error": error.reason,
    }


def _count(summary: PredictSummary, source: Source, row: Row) -> None:
    summary.n_images += 1
    summary.n_anomalous += row["anomalous"] is True
    if row["error"] is not None:
        summary.errors.append(BadFile(source.path, str(row["error"])))
