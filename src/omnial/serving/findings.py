"""From an inspection, which holds arrays at source size, to what is sent and kept: small."""

from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.config.settings import DataSettings
from omnial.data.geometry import place
from omnial.inference.inspection import Inspection
from omnial.inference.outlines import Outline, find_outlines, outline_json
from omnial.serving.replies import InspectionReply, OutlineReply
from omnial.serving.upload import Upload

_MAP_EDGE = 320
"""Longest edge of the score map that travels; networks see 256 to 320 pixels."""
_PICTURE_EDGE = 384
"""Longest edge of the picture in the history."""


class Finding(NamedTuple):
    """A verdict and its pictures, encoded."""

    reply: InspectionReply
    map_png: bytes
    """8-bit grey, 255 is probability 1."""
    picture_jpeg: bytes | None
    """The image, small; None where no history is kept."""
    file: bytes | None = None
    """The image file as it was sent; None where none is kept."""


def describe(
    inspection: Inspection,
    upload: Upload,
    level: float,
    settings: DataSettings,
    *,
    suspects: bool,
    picture: bool,
) -> Finding:
    """Shrink and encode what an inspection found, with outlines above the score `level`.

    `suspects` outlines a good image too; `picture` makes the history's picture.
    """
    height, width = inspection.image.shape[:2]
    small = _small_map(inspection.score_map)
    suspected = inspection.outlines
    if suspects and not inspection.anomalous:
        rows, columns = small.shape
        frame = {"height": rows, "width": columns, "geometry": "squash"}
        placement = place((height, width), settings.model_copy(update=frame))
        cell = max(1.0, rows * columns / (settings.height * settings.width))
        suspected = find_outlines(small, level, placement, cell=cell)
    reply = InspectionReply(
        id=None,
        name=upload.name,
        sha256=sha256(upload.content).hexdigest(),
        class_name=inspection.class_name,
        score=inspection.score,
        threshold=inspection.threshold,
        anomalous=inspection.anomalous,
        outlines=_replies(inspection.outlines),
        suspects=_replies(suspected) if suspects else None,
        width=width,
        height=height,
        map=None,
    )
    grey = Image.fromarray(np.rint(small * np.float32(255)).astype(np.uint8))
    jpeg = None
    if picture:
        thumbnail = Image.fromarray(inspection.image)
        thumbnail.thumbnail((_PICTURE_EDGE, _PICTURE_EDGE), reducing_gap=2.0)
        jpeg = _encode(thumbnail, "JPEG", quality=85)
    return Finding(reply, _encode(grey, "PNG", compress_level=1), jpeg)


def _small_map(score_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """The score map with at most `_MAP_EDGE` pixels an edge, by area averages."""
    height, width = score_map.shape
    factor = _MAP_EDGE / max(height, width)
    if factor >= 1.0:
        return score_map
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(score_map).resize(size, Image.Resampling.BOX))


def _replies(found: tuple[Outline, ...]) -> list[OutlineReply]:
    return [OutlineReply.model_validate(outline_json(outline)) for outline in found]


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
