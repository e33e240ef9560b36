"""The report's pictures: one gallery item becomes a row of images that live inside the page."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.evaluation.result import GalleryItem
from omnial.inference.outlines import outlines
from omnial.inference.overlay import TRUTH, draw_outlines, heat, overlay
from omnial.models.normality import score_of
from omnial.reporting.render import data_uri

_JPEG_QUALITY = 88
LONGER_SIDE = (256, 384)
"""Pixels of a picture's longer side, at least and at most: small network inputs are enlarged so
that outlines stay fine lines, large ones shrunk so that the page stays one file to send on."""


class Picture(NamedTuple):
    """One picture of a row, of so many pixels."""

    caption: str
    words: str
    """Description, for those who cannot see it."""
    uri: str | None
    """A `data:` address; None where there is no such picture."""
    width: int
    height: int


def pictures(item: GalleryItem, pixel_threshold: float) -> list[Picture]:
    """The pictures of a gallery item; the template says by their captions what they show.

    Findings are outlined at the threshold, for NaN not at all. The ground truth of a defective
    image without a mask has no content.
    """
    longer = max(item.image.shape[:2])
    scale = min(max(longer, LONGER_SIDE[0]), LONGER_SIDE[1]) / longer
    height, width = (max(1, round(edge * scale)) for edge in item.image.shape[:2])
    image = _resized(item.image, height, width)
    scores = _resized(item.score_map, height, width)
    marked = _polygons(item.score_map, pixel_threshold, (height, width))

    truth, truth_words = None, "No defect was marked by hand: no mask belongs to this image"
    if item.mask is not None or not item.record.anomalous:
        mask = np.zeros(item.image.shape[:2], bool) if item.mask is None else item.mask
        borders = _polygons(mask.astype(np.float32), 0.5, (height, width))
        truth, truth_words = draw_outlines(image, borders, TRUTH), "Input without any true defect"
        if borders:
            truth_words = f"Input with {len(borders)} true defects outlined in green"
    visible, visible_words = None, "This system does not rebuild a visibility map"
    if item.jnd is not None:
        visible = _resized(grey_picture(item.jnd), height, width)
        visible_words = "Visibility map as grey levels"
    rebuilt, peak = _resized(item.reconstruction, height, width), float(item.score_map.max())
    contents = (
        ("Input", image, "The input image"),
        ("Rebuilt", rebuilt, "The image as rebuilt by the model"),
        ("JND", visible, visible_words),
        *_witness_pictures(item, (height, width)),
        ("Score map", heat(scores), f"Score map as colours; highest score {peak:.3f}"),
        ("Marked", overlay(image, scores, marked), f"Input with {len(marked)} outlined findings"),
        ("Truth", truth, truth_words),
    )
    found = []
    for caption, content, words in contents:
        uri = None
        if content is not None:
            uri = data_uri(jpeg(content, thin_lines=True), "image/jpeg")
        found.append(Picture(caption, words, uri, width, height))
    return found


def _witness_pictures(
    item: GalleryItem, size: tuple[int, int]
) -> list[tuple[str, NDArray[np.uint8], str]]:
    """What each witness alone says, in the colours of the score map, which is that of the sum."""
    found = []
    if item.witnesses is not None:
        for name, evidence in item.witnesses.named().items():
            words = f"Evidence of the {name} alone; highest {evidence.max():.1f}"
            found.append((name.capitalize(), heat(_resized(score_of(evidence), *size)), words))
    return found


def _resized(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """An image (H, W, 3) or a map (H, W) of another size, a map never beyond its own extremes."""
    if pixels.shape[:2] == (height, width):
        return pixels
    method = Image.Resampling.LANCZOS if pixels.ndim == 3 else Image.Resampling.BILINEAR
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), method))


def _polygons(
    values: NDArray[np.float32], level: float, size: tuple[int, int]
) -> Sequence[NDArray[np.float64]]:
    """Outlines of a map, in the pixels of a picture of this size; none for a level of NaN."""
    if np.isnan(level):
        return []
    scale = np.array([size[1] / values.shape[1], size[0] / values.shape[0]])
    return [
        (np.asarray(outline.polygon, dtype=np.float64) + 0.5) * scale - 0.5
        for outline in outlines(values, level)
    ]


def grey_picture(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map in 0..1 as a grey picture (H, W, 3)."""
    levels = np.rint(np.clip(np.nan_to_num(values), 0.0, 1.0) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def jpeg(image: NDArray[np.uint8], *, thin_lines: bool) -> bytes:
    """A picture (H, W, 3) as a JPEG file; thin lines need the full colour resolution."""
    buffer = io.BytesIO()
    # Not optimised: Pillow then has a byte a pixel only, and a grainy picture takes more.
    subsampling = "4:4:4" if thin_lines else "4:2:0"
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=subsampling)
    return buffer.getvalue()
