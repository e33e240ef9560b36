"""Pictures inside pages, of any content."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omnial.reporting.render import data_uri
from omnial.reporting.report_pictures import jpeg


def grain(edge: int) -> NDArray[np.uint8]:
    """What compresses worst."""
    return np.random.default_rng(0).integers(0, 256, (edge, edge, 3), np.uint8)


@pytest.mark.parametrize("edge", [1, 16, 128, 256, 700])
def test_grain_can_be_written(edge: int, tmp_path: Path) -> None:
    pixels = grain(edge)
    head, _, body = data_uri(jpeg(pixels, thin_lines=True), "image/jpeg").partition(",")
    assert head == "data:image/jpeg;base64"
    (tmp_path / "grain.jpg").write_bytes(jpeg(pixels, thin_lines=False))
    for source in (io.BytesIO(base64.b64decode(body)), tmp_path / "grain.jpg"):
        with Image.open(source) as found:
            assert found.size == (edge, edge)
            found.load()


def test_a_page_keeps_the_colours_of_thin_lines() -> None:
    pixels = np.full((32, 32, 3), 128, np.uint8)
    pixels[:, 15] = (0, 255, 0)
    body = data_uri(jpeg(pixels, thin_lines=True), "image/jpeg").partition(",")[2]
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))), np.int64)
    assert np.abs(found[:, 15] - (0, 255, 0)).max() < 60
    assert np.abs(found[:, 13] - 128).max() < 30
