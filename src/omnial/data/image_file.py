"""Opening an image file: format, size, orientation, and the many ways in which one can be bad."""

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from omnial.data.tiff_kinds import UnsupportedKindError, check_kind
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
    (b"RIFF", WebPImageFile),
)

# What Pillow's readers raise on damaged files; everything else is a fault of ours.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError),
    *(AssertionError, struct.error, zlib.error),
)

# What Pillow says of sound JPEG and BMP files, and of pixels that it has no colours for.
_NOT_READ = re.compile(r"(?i)^cannot handle|^unsupported BMP|conversion .* not supported")

_TRANSPOSED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

MAX_SCANS: Final = 100
"""Scans of a JPEG file. Encoders write up to some twenty; each costs a pass over all pixels."""

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
# Within the pixels, FF is followed by 00, or by a restart marker, D0 to D7.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


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
    process-wide limit, which may be lower or higher. Damage met while the image is decoded inside
    the `with` block is raised as an `ImageError` as well.

    Args:
        path: The file.
        max_megapixels: Larger images are refused before anything is decoded.
        content: The file's bytes, where they do not come from disk; `path` is then a name for
            errors, and nothing of that name is opened.

    Raises:
        ImageError: The file is missing, empty, damaged, too large or of an unknown format.
    """
    with naming_damage(path), _stream(path, content) as stream:
        # Without the file's name Pillow does not map it into memory, which would scramble
        # uncompressed TIFF files that their orientation rotates by 90 degrees.
        image = _reader(path, stream)(stream)
        check_size(path, image, max_megapixels)
        yield image


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn what Pillow raises about an image into an `ImageError` that names it."""
    try:
        yield
    except UnsupportedKindError as error:
        raise ImageError(path, str(error)) from error
    except Image.DecompressionBombError as error:
        # Pillow's WebP reader makes its canvas at once, and so keeps to Pillow's own limit.
        raise TooManyPixelsError(path, f"it has more pixels than Pillow reads ({error})") from error
    except MemoryError as error:
        raise ImageError(path, "not enough memory to decode it") from error
    except _DAMAGE as error:
        if _NOT_READ.search(str(error)):
            raise ImageError(path, f"this kind of file is not supported ({error})") from error
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
    """Pillow's reader for the first bytes."""
    head = stream.read(16)
    stream.seek(0)
    if not head:
        raise ImageError(path, "the file is empty")
    if head.startswith(b"MM\0+"):
        raise UnsupportedKindError(
            "big-endian BigTIFF is not supported; save it as a plain TIFF or little-endian"
        )
    for signature, reader in _READERS:
        if head.startswith(signature):
            if reader is TiffImageFile:
                # Before Pillow's reader, which takes some kinds that are not read for damage.
                tags = ImageFileDirectory_v2(head if head[2:3] == b"+" else head[:8])
                stream.seek(tags.next)
                tags.load(stream)
                stream.seek(0)
                check_kind(tags)
            return reader
    raise ImageError(path, "is not a PNG, JPEG, BMP, TIFF or WebP image")


def check_size(path: Path, image: Image.Image, max_megapixels: float | None) -> None:
    """Refuse an image of too many pixels."""
    width, height = image.size
    if max_megapixels is not None and width * height > max_megapixels * 1e6:
        raise TooManyPixelsError(
            path,
            f"{width}x{height} pixels are more than the allowed {max_megapixels:g} megapixels; "
            "raise max_megapixels (--max-megapixels) if this is meant",
        )


def content_of(path: Path, image: Image.Image) -> bytes | None:
    """The bytes of the file that Pillow has opened, so long as its picture is the file's.

    None where only the picture in memory is left, or where it is not the file's first page; an
    `ImageError` that bears the name `path` where the file was closed before the picture was read.
    """
    readers = tuple(reader for _, reader in _READERS)
    # A JPEG file's draft is smaller than the file.
    if not isinstance(image, readers) or image.tell() or getattr(image, "decoderconfig", None):
        return None
    if image.tile:
        if image.fp is None or image.fp.closed:
            raise ImageError(path, "the file was closed before it was read; call load() before")
        position = image.fp.tell()
        image.fp.seek(0)
        content = image.fp.read()
        image.fp.seek(position)
        return content
    # Pillow maps uncompressed TIFF files, and scrambles those that are rotated by 90 degrees.
    mapped = getattr(image, "map", None) is not None and image.readonly
    return Path(str(image.filename)).read_bytes() if mapped else None


def upright(image: Image.Image) -> Image.Image:
    """Decode an image; where its EXIF orientation rotates it, the result is a rotated copy."""
    if isinstance(image, ImageFile):
        _check_integrity(image)
    image.load()
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return image if orientation == 1 else ImageOps.exif_transpose(image)


def image_size(path: Path, max_megapixels: float | None = None) -> tuple[int, int]:
    """Height and width in pixels after the EXIF rotation, from the header alone."""
    with open_image(path, max_megapixels) as image:
        width, height = image.size
        # For a PNG without EXIF data ahead of its pixels, Pillow would decode the image to search
        # behind them, where encoders do not write it. Its TIFF reader has already swapped the two.
        known = "exif" in image.info if isinstance(image, PngImageFile) else True
        if known and not isinstance(image, TiffImageFile):
            transposed = image.getexif().get(ExifTags.Base.Orientation) in _TRANSPOSED
            return (width, height) if transposed else (height, width)
        return height, width


def _check_integrity(image: ImageFile) -> None:
    """Refuse damage that Pillow passes over, and JPEG files made to keep its decoder busy."""
    if image.fp is None:
        return
    if isinstance(image, PngImageFile):
        # Pillow compares the check sums of the header's chunks alone.
        image.fp.seek(0)
        PngImageFile(image.fp).verify()
    elif isinstance(image, JpegImageFile):
        image.fp.seek(0)
        _refuse_many_scans(image.fp.read())


def _refuse_many_scans(content: bytes) -> None:
    """Count the scans up to the end of the first image: thumbnails lie within segments."""
    scans = 0
    found = _MARKER.search(content, 2)
    while found and found[1][0] != _END_OF_IMAGE:
        place = found.end()
        if found[1][0] not in (_START_OF_IMAGE, _TEMPORARY):
            place += int.from_bytes(content[place : place + 2], "big")
        scans += found[1][0] == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise ValueError(f"more than {MAX_SCANS} scans")
        found = _MARKER.search(content, place)
