"""Opening an image file: format, size, orientation, and the many ways in which one can be bad."""

import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from omnial.data.integrity import check_integrity
from omnial.errors import UserError, shown

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp"}
)
"""Endings of image files, in lower case."""

# The format follows from the content, as cameras and tools often misname files.
_READERS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),
    (b"MM\0+", TiffImageFile),
    (b"RIFF", WebPImageFile),
)

# What Pillow's readers raise on damaged files; everything else is a fault of ours.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    AssertionError,
    struct.error,
    zlib.error,
)

_TRANSPOSED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


class ImageError(UserError):
    """An image file that cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{shown(path)}: {reason}")
        self.path = path
        self.reason = reason


class TooManyPixelsError(ImageError):
    """An image file that is larger than allowed."""


@contextmanager
def open_image(
    path: Path, max_megapixels: float | None = None, *, content: bytes | None = None
) -> Iterator[ImageFile]:
    """Open an image file, read its header, and name what is wrong with it.

    Pillow's readers are called directly, so `max_megapixels` stands in for Pillow's own,
    process-wide limit, which may be lower or higher.

    Args:
        path: the file.
        max_megapixels: larger images are refused before anything is decoded.
        content: the file's bytes, where they do not come from disk; `path` is then a name for
            errors, and nothing of that name is opened.

    Yields:
        The image, not decoded yet. Damage met while it is decoded inside the `with` block is
        turned into an `ImageError` as well.

    Raises:
        ImageError: the file is missing, empty, damaged, too large or of an unknown format.
    """
    try:
        with _stream(path, content) as stream:
            # Without the file's name Pillow does not map it into memory, which would scramble
            # uncompressed TIFF files that their orientation turns by 90 degrees.
            image = _reader(path, stream)(stream)
            _check_size(path, image, max_megapixels)
            yield image
    except Image.DecompressionBombError as error:
        # Pillow's WebP reader makes its canvas at once, and so keeps to Pillow's own limit.
        raise TooManyPixelsError(path, f"it has more pixels than Pillow reads ({error})") from error
    except MemoryError as error:
        raise ImageError(path, "not enough memory to decode it") from error
    except _DAMAGE as error:
        raise ImageError(path, f"the file is damaged or incomplete ({error})") from error


def _stream(path: Path, content: bytes | None) -> BinaryIO:
    if content is not None:
        return BytesIO(content)
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(path, "the file does not exist") from error
    except PermissionError as error:
        raise ImageError(path, "the file may not be read; check its permissions") from error
    except OSError as error:
        raise ImageError(path, f"the file cannot be opened ({error.strerror})") from error
    # Opening a named pipe would wait, and a device never end.
    raise ImageError(path, "is not a file")


def _reader(path: Path, stream: BinaryIO) -> type[ImageFile]:
    """Choose Pillow's reader by the first bytes."""
    head = stream.read(16)
    stream.seek(0)
    if not head:
        raise ImageError(path, "the file is empty")
    for signature, reader in _READERS:
        if head.startswith(signature):
            return reader
    raise ImageError(path, "is not a PNG, JPEG, BMP, TIFF or WebP image")


def _check_size(path: Path, image: ImageFile, max_megapixels: float | None) -> None:
    width, height = image.size
    if max_megapixels is not None and width * height > max_megapixels * 1e6:
        raise TooManyPixelsError(
            path,
            f"{width}x{height} pixels are more than the allowed {max_megapixels:g} megapixels; "
            "raise data.max_megapixels if this is meant",
        )


def upright(image: ImageFile) -> Image.Image:
    """Decode an image and turn it as its EXIF orientation says."""
    check_integrity(image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return image


def image_size(path: Path, max_megapixels: float | None = None) -> tuple[int, int]:
    """Height and width in pixels after the EXIF rotation, from the header alone.

    Raises:
        ImageError: as `open_image`.
    """
    with open_image(path, max_megapixels) as image:
        width, height = image.size
        # Pillow's TIFF reader has already swapped them.
        if not isinstance(image, TiffImageFile) and _orientation(image) in _TRANSPOSED:
            width, height = height, width
        return height, width


def _orientation(image: ImageFile) -> int | None:
    # For a PNG without EXIF data ahead of its pixels, Pillow would decode the image to search
    # behind them, where encoders do not write it.
    if isinstance(image, PngImageFile) and "exif" not in image.info:
        return None
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) else None
