"""Any bytes are an image, a mask, or an `ImageError`; and the same image as the network's input."""

import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from omnial.config.settings import DataSettings
from omnial.data.decode import network_input, read_mask, read_rgb
from omnial.data.image_file import ImageError, image_size
from tests.bad_input.forge import PNG_SIGNATURE
from tests.bad_input.pictures import PICTURES

_SETTINGS = DataSettings(height=32, width=32, max_megapixels=0.05)
_MEMORY = Path("/dev/shm")
_FOLDER = tempfile.TemporaryDirectory(
    prefix="omnial-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None
)
_PATH = Path(_FOLDER.name) / "image"
_LARGEST_SEED = 6_000

warnings.simplefilter("ignore")


def seeds() -> Iterator[bytes]:
    """Files to begin with: the hostile ones of the tests, sound ones among them."""
    for case in PICTURES:
        case.write(_PATH)
        if _PATH.stat().st_size <= _LARGEST_SEED:
            yield _PATH.read_bytes()


def target(data: bytes) -> None:
    """Read bytes as they are and, if they are a PNG file, with the right check sums."""
    _read(data)
    if data.startswith(PNG_SIGNATURE):
        _read(_with_sums(data))


def _with_sums(content: bytes) -> bytes:
    """Correct the chunks' check sums: the search would hardly ever come past them."""
    parts, place = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + length]
        parts += [content[place : place + 4], body, zlib.crc32(body).to_bytes(4, "big")]
        place += 12 + length
    return b"".join(parts)


def _read(data: bytes) -> None:
    """Read bytes in every way in which files are read."""
    try:
        image = read_rgb(Path("image"), _SETTINGS, content=data)
    except ImageError:
        image = None
    _PATH.write_bytes(data)
    try:
        size = image_size(_PATH, _SETTINGS.max_megapixels)
    except ImageError:
        size = None
    if size is not None:
        with suppress(ImageError):
            assert read_mask(_PATH).dtype == np.bool_
    if image is None:
        return
    assert image.ndim == 3
    assert image.shape[:2] == size, f"{image.shape} from its pixels, {size} from its header"
    pixels, placement = network_input(image, _SETTINGS)
    assert pixels.shape == (3, placement.height, placement.width)
    assert min(pixels.shape[1:]) == 32
    assert np.isfinite(pixels).all()
    assert (placement.source_height, placement.source_width) == size
