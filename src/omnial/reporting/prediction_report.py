"""Inspect files and folders, and write what was found: rows, a table, pictures, a page.

Rows go to `predictions.jsonl.part`, which gets its name when everything else is there. A folder
holds the results of one run: those of an earlier one stay until the end, and are then replaced.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nlargest
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes as quote

from PIL import Image

from omnial.errors import UserError, shown, told_apart
from omnial.files import (
    PART,
    StrPath,
    as_path,
    as_paths,
    failure,
    locked,
    replace_together,
    replacing,
    scratch_in,
    writing,
)
from omnial.inference.inputs import list_inputs
from omnial.inference.inspector import Inspector, Tile
from omnial.inference.predictor import (
    JOB_FILE,
    OVERLAYS,
    PREDICTIONS_FILE,
    Pictures,
    PredictSummary,
    Row,
    each_result,
)
from omnial.inference.result_files import (
    COCO_FILE,
    TABLE_FILE,
    TIMED,
    CocoOutlines,
    ResultFiles,
    read_rows,
)
from omnial.progress import Progress, silent
from omnial.reporting.render import data_uri, render, script

PAGE_FILE: Final = "index.html"
_MOST: Final = 300
"""Pictures on the page: so that it stays a file of some megabytes."""
_MOST_ERRORS: Final = 50
_EDGE: Final = 240
_UNKNOWN: Final = "unknown product"
_LISTS: Final = (TABLE_FILE, COCO_FILE, PAGE_FILE, PREDICTIONS_FILE)
"""What a run writes besides pictures, the rows last: until then, the earlier ones stand."""


def predict(
    inspector: Inspector,
    paths: StrPath | Iterable[StrPath],
    *,
    out: StrPath,
    class_name: str | None = None,
    tile: Tile = "auto",
    pictures: bool = True,
    coco: bool = False,
    on_image: Callable[[Row], None] | None = None,
    progress: Progress = silent,
) -> PredictSummary:
    """Inspect images and write what was found.

    Writes into `out`: `predictions.jsonl`, a row an image in the order of the files;
    `results.csv`, the same as a table; `index.html`, the pictures, the worst first;
    `maps/NAME.png`, the score map at the source's size, 16 bit, 65535 = probability 1;
    `masks/NAME.png`, 255 within the outlines, 0 elsewhere; and `overlays/NAME.jpg`, the image with
    map, outlines and verdict. Outlines are in source pixels, with whole numbers at pixel centres,
    and only anomalous images have them: the regions above the model's pixel level, or, where that
    finds none, those above half of the map's peak.

    Args:
        inspector: The model, on any engine.
        paths: Image files and folders.
        out: Folder for the results; those of an earlier run are replaced when all is done.
        class_name: As for `Inspector.inspect`.
        tile: As for `Inspector.inspect`.
        pictures: Write maps, masks, overlays and the page; without, `map` is null in every row.
        coco: Write the outlines to `coco.json` too, in the layout of COCO.
        on_image: Called with each row, in order.
        progress: Called with `inspecting`, the images done, and their number.

    Returns:
        Counts, and the files that could not be inspected; these have a row with an error.

    Raises:
        UserError: The model does not know the class, a path does not exist, there is no image,
            or `out` cannot be made, is in use or holds an archive's results. Nothing has been
            written then.
        RunError: A result could not be written.
        TypeError: An argument is of another kind.

    Example:
        >>> import omnial
        >>> summary = omnial.predict(omnial.Inspector("model"), "new_pictures", out="results")
        >>> print(summary.n_images, summary.n_anomalous)  # doctest: +ELLIPSIS
        1 ...
    """
    if not isinstance(inspector, Inspector):
        raise TypeError(f"inspector is an omnial.Inspector, not {type(inspector).__name__}")
    out = as_path(out, "out")
    inspector.check_class(class_name)
    sources = list_inputs(as_paths(paths, "paths"))
    summary = PredictSummary()

    def write(folder: Path) -> None:
        drawn = Pictures(folder) if pictures else None
        outlines = CocoOutlines() if coco else None
        found = each_result(inspector, sources, class_name, tile=tile, pictures=drawn)
        with ResultFiles(folder) as files:
            for result in found:
                files.add(result)
                summary.count(result.row)
                if outlines is not None:
                    outlines.add(result)
                progress("inspecting", summary.n_images, len(sources))
                if on_image is not None:
                    on_image(result.row)
            if outlines is not None:
                outlines.write(folder / COCO_FILE)
            if pictures:
                write_page(folder, files.rows)
            files.finish()

    refuse_others(out)
    with locked(out):
        try:
            if pictures:
                Pictures(out).make_folders()
        except OSError as error:
            raise UserError(failure("No results could be written", out, error)) from error
        with writing("The results", out):
            # Pictures that an interrupted run wrote before their rows may be of these images.
            stale = {*_named(out), *(source.name for source in sources)}
            if not (out / PREDICTIONS_FILE).exists():
                _remove(out, stale)
                write(out)
                return summary
            with scratch_in(out) as scratch:
                if pictures:
                    Pictures(scratch).make_folders()
                write(scratch)
                files = [path for path in sorted(scratch.rglob("*")) if path.is_file()]
                names = [path.relative_to(scratch).as_posix() for path in files]
                names.remove(PREDICTIONS_FILE)
                replace_together(scratch, out, names, flush=False)
                _remove(out, stale, names)
                replace_together(scratch, out, [PREDICTIONS_FILE], flush=False)
    return summary


def refuse_others(out: Path, *, timed: bool = False) -> None:
    """Refuse a folder whose files would be lost: an archive's, those of somebody else.

    Rows of a watch, which are `timed`, and others do not fit each other.
    """
    kind, table = None, out / TABLE_FILE
    ours = any((out / (PREDICTIONS_FILE + ending)).exists() for ending in ("", PART))
    strange = next((name for name in _LISTS[:-1] if (out / name).exists()), None)
    if (out / JOB_FILE).exists():
        kind = f"an archive ({JOB_FILE})"
    elif strange and not ours:
        kind = f"something else ({strange})"
    elif table.is_file():
        with table.open(encoding="utf-8", errors="replace") as file:
            head = file.read(len(TIMED))
            if head and (head == TIMED) != timed:
                kind = "omnial predict" if timed else "omnial watch"
    if kind is not None:
        raise UserError(f"{out} holds the results of {kind}. Name another folder.")


def _remove(out: Path, stale: Iterable[str], keep: Sequence[str] = ()) -> None:
    """Remove what earlier runs left, all but the rows and what stays."""
    Pictures(out).remove(stale, set(keep))
    for name in _LISTS[:-1]:
        if name not in keep:
            (out / name).unlink(missing_ok=True)


def _named(out: Path) -> Iterator[str]:
    """Names of the pictures in the rows that earlier runs left in a folder."""
    for name in (PREDICTIONS_FILE, PREDICTIONS_FILE + PART):
        for row in read_rows(out / name):
            if isinstance(row, dict) and isinstance(row.get("map"), str):
                yield Path(str(row["map"])).stem


def write_page(folder: Path, rows: Path) -> None:
    """Write `index.html` next to the overlays of a folder of results, whole or not at all.

    `rows` is the file of the rows, of which the page shows the 300 whose scores are farthest above
    their thresholds. The same results give the same bytes.
    """
    summary = PredictSummary()
    found = nlargest(_MOST, _counted(rows, summary), key=_excess)
    shots = [shot for row in found if (shot := _shot(folder, row))]
    text = render(
        "predictions.html",
        script=script("predictions.js"),
        summary=summary,
        products=[(shown(one or _UNKNOWN), *counts) for one, *counts in summary.by_product()],
        shots=shots,
        inspected=summary.n_images - len(summary.errors),
        table=TABLE_FILE,
        errors=[(shown(bad.path), shown(bad.reason)) for bad in summary.errors[:_MOST_ERRORS]],
    )
    with replacing(folder / PAGE_FILE, flush=False) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def _counted(rows: Path, summary: PredictSummary) -> Iterable[Row]:
    """The rows of images that could be read and have a picture."""
    for row in read_rows(rows):
        summary.count(row)
        if row["map"] is not None:
            yield row


def _excess(row: Any) -> float:
    return float(row["score"] - row["threshold"])


def _shot(folder: Path, row: Any) -> dict[str, Any] | None:
    """A row's picture; None where the overlay was removed, or was not written whole."""
    files = (folder / OVERLAYS / f"{Path(row['map']).stem}.{kind}" for kind in ("jpg", "png"))
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return None
    stream = io.BytesIO()
    try:
        with Image.open(file) as picture:
            picture.draft("RGB", (2 * _EDGE, 2 * _EDGE))  # a large JPEG is decoded small
            picture.thumbnail((_EDGE, _EDGE))
            picture.convert("RGB").save(stream, "JPEG", quality=80)
    except OSError:
        return None
    path, (width, height) = Path(row["path"]), picture.size
    score, threshold = told_apart(row["score"], row["threshold"])
    return {
        "name": shown("/".join(path.parts[-2:])),
        "path": shown(path),
        "product": shown(row["class"] or _UNKNOWN),
        "verdict": "anomalous" if row["anomalous"] else "good",
        "score": score,
        "threshold": threshold,
        "defects": len(row["outlines"]),
        "width": width,
        "height": height,
        "overlay": quote(os.fsencode(f"{OVERLAYS}/{file.name}")),
        "uri": data_uri(stream.getvalue(), "image/jpeg"),
    }
