"""The loop: what arrives is inspected, written down, and told to the hooks."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.data.image_file import ImageError
from omnial.files import locked, replacing, writing
from omnial.inference.inputs import Source
from omnial.inference.inspection import Inspection
from omnial.inference.inspector import Inspector, Tile
from omnial.inference.predictor import Pictures, PredictSummary, Result, result_of
from omnial.inference.result_files import ResultFiles
from omnial.reporting.prediction_report import refuse_others, write_page
from omnial.watching.feeds import Arrival, Feed
from omnial.watching.hooks import Event, Hook

Kept: TypeAlias = Literal["all", "anomalous", "none"]
"""Of which images pictures are kept."""

EVENT_NAMES: Final = (
    *("time", "path", "class", "verdict", "score", "threshold", "defects"),
    *("map", "mask", "overlay", "error"),
)
"""What a hook is told, besides `outlines` and `anomalous`."""
FRAMES: Final = "frames"
_REPORT: Final = 10.0
"""Seconds between two reports of how far behind the inspection is."""
_RENEWED: Final = 30.0
"""Seconds between two writings of the page, at least."""
_PAGE_SHARE: Final = 50.0
"""Time between two writings over that of one, at least: it grows with the rows."""
_logger = logging.getLogger(__name__)


@dataclass
class WatchSummary(PredictSummary):
    """Summary of a watch."""

    dropped: int = 0
    """Frames of a camera that came faster than they were inspected."""
    waiting: int = 0
    """Files that had arrived and were not inspected at the end."""
    undelivered: int = 0
    """Verdicts that a hook failed to take, or that were left out for a slow one."""


def watch(
    inspector: Inspector,
    feed: Feed,
    out: Path,
    *,
    class_name: str | None = None,
    tile: Tile = "auto",
    kept: Kept = "all",
    hooks: Iterable[Hook] = (),
    stop_after: int | None = None,
    stopped: Callable[[], object] = bool,
    on_image: Callable[[Event], None] | None = None,
) -> WatchSummary:
    """Inspect what a feed gives until it ends, and add what was found to a folder of results.

    The rows are those of `omnial.predict` with their `time`, the pictures are called by it, and
    frames of a video are kept in `frames/`. Rows stand in their files at once; the page is renewed
    every half minute, more seldom once it has grown, and at the end.

    `stopped` is asked before each batch whether to end; feed and hooks are closed at the end.
    """
    summary, times, hooks = WatchSummary(), _times(), list(hooks)

    def allowed() -> int:
        """How many pictures may be taken now."""
        if stopped():
            return 0
        most = inspector.batch_size
        return most if stop_after is None else min(most, stop_after - summary.n_images)

    try:
        inspector.check_class(class_name)
        refuse_others(out, timed=True)
        with locked(out), writing("The results", out):
            pictures = None if kept == "none" else Pictures(out)
            if pictures is not None:
                pictures.make_folders()
            due = time.monotonic() + _RENEWED
            with ResultFiles(out, append=True) as files:
                shown = True
                for one in _inspected(inspector, feed, class_name, tile, allowed):
                    if pictures is not None and not shown and time.monotonic() >= due:
                        begun = time.monotonic()
                        write_page(out, files.rows)
                        ended, shown = time.monotonic(), True
                        due = ended + max(_RENEWED, _PAGE_SHARE * (ended - begun))
                    if one is None:
                        continue
                    arrival, found = one
                    keep = kept == "all" or (isinstance(found, Inspection) and found.anomalous)
                    moment = next(times)
                    name = f"{moment:%Y%m%d-%H%M%S-%f}-{arrival.stem}"
                    result = result_of(
                        *(Source(Path(arrival.path), name), found, class_name),
                        pictures if keep else None,
                    )
                    # An address is no path: two slashes of it would become one.
                    result.row.update(path=arrival.path, time=moment.isoformat())
                    if keep and pictures is not None and arrival.frame is not None:
                        _keep(arrival.frame, out / FRAMES / f"{name}.jpg")
                    files.add(result)
                    summary.count(result.row)
                    event = _event(result, out)
                    for hook in hooks:
                        hook.send(event)
                    if on_image is not None:
                        on_image(event)
                    shown = False
                if pictures is not None:
                    write_page(out, files.rows)
    finally:
        feed.close()
        for hook in hooks:
            hook.close()
        summary.dropped, summary.waiting = feed.dropped, feed.waiting()
        summary.undelivered = sum(hook.failed + hook.left_out for hook in hooks)
    return summary


def _inspected(
    inspector: Inspector,
    feed: Feed,
    class_name: str | None,
    tile: Tile,
    allowed: Callable[[], int],
) -> Iterator[tuple[Arrival, Inspection | ImageError] | None]:
    """Inspect in batches what a feed gives, and say every ten seconds how far behind that is.

    None where nothing had arrived.
    """
    reported, dropped = time.monotonic(), 0
    while (most := allowed()) > 0 and (arrivals := feed.take(most)) is not None:
        given = [Path(one.path) if one.frame is None else one.frame for one in arrivals]
        found = inspector.each(given, class_name, tile=tile)
        for arrival, inspection in zip(arrivals, found, strict=True):
            if not (isinstance(inspection, ImageError) and feed.again(arrival)):
                yield arrival, inspection
        if not arrivals:
            yield None
        if time.monotonic() - reported < _REPORT:
            continue
        reported = time.monotonic()
        if feed.waiting() > inspector.batch_size:
            behind = "%d files wait: they arrive faster than they are inspected"
            _logger.info(behind, feed.waiting())
        if feed.dropped > dropped:
            behind = "%d frames dropped: the camera is faster than the inspection"
            _logger.info(behind, feed.dropped - dropped)
        dropped = feed.dropped


def _times() -> Iterator[datetime]:
    """The time, each after the one before, also where the clock is set back."""
    last = datetime.now().astimezone()
    while True:
        yield last
        last = max(datetime.now().astimezone(), last + timedelta(microseconds=1))


def _keep(frame: NDArray[np.uint8], path: Path) -> None:
    """Write a frame down, which a camera does not keep."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path, flush=False) as part:
        Image.fromarray(frame).save(part, "JPEG", quality=95, subsampling="4:4:4")


def _event(result: Result, out: Path) -> dict[str, Any]:
    row: dict[str, Any] = {**result.row, "mask": result.mask, "overlay": result.overlay}
    for name in ("map", "mask", "overlay"):
        row[name] = None if row[name] is None else str((out / row[name]).absolute())
    verdict = "anomalous" if row["anomalous"] else "good"
    row["verdict"] = verdict if row["error"] is None else "not readable"
    return {**row, "defects": len(row["outlines"])}
