"""The page of a folder of results: what was inspected, the worst first, to look at offline."""

import io
import os
from collections.abc import Iterable
from heapq import nlargest
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes as quote

from PIL import Image

from omnial.errors import shown, told_apart
from omnial.files import replacing
from omnial.inference.predictor import OVERLAYS, PredictSummary, Row
from omnial.inference.result_files import TABLE_FILE, read_rows
from omnial.reporting.render import data_uri, render, script

PAGE_FILE: Final = "index.html"
_MOST: Final = 300
"""Pictures on the page: so that it stays a file of some megabytes."""
_MOST_ERRORS: Final = 50
_EDGE: Final = 240
_UNKNOWN: Final = "unknown product"


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
    """A row's picture; None where the overlay was removed."""
    files = (folder / OVERLAYS / f"{Path(row['map']).stem}.{kind}" for kind in ("jpg", "png"))
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return None
    with Image.open(file) as picture:
        picture.draft("RGB", (2 * _EDGE, 2 * _EDGE))  # a large JPEG is decoded small
        picture.thumbnail((_EDGE, _EDGE))
        stream = io.BytesIO()
        picture.convert("RGB").save(stream, "JPEG", quality=80)
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
