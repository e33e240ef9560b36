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

# TIFF is a box that holds almost anything, and of what Pillow does not refuse it reads some kinds
# wrongly. So a file is read if its kind stands here: every value of these is known to come out
# right, and every kind is compared with another reader in the tests.
_COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _PLANAR = 259, 262, 266, 284
_WIDTH, _BITS, _SAMPLES, _EXTRA, _FORMAT = 256, 258, 277, 338, 339

_COLOURS: Final = {
    0: "white-is-zero grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    32803: "Bayer pattern",
    34892: "linear raw",
}
_FORMATS: Final = {1: "", 2: "signed", 3: "float"}
_CHANNELS: Final = {2: 3, 5: 4, 6: 3, 8: 3}
_RAW, _JPEG = 1, 7
_COMPRESSIONS: Final = frozenset({_RAW, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000, 50001})
"""None, the three of fax, LZW, JPEG, deflate under two numbers, packbits, LZMA, Zstandard, WebP."""

_SMALL: Final = frozenset({(1, 1), (1, 2), (1, 4), (1, 8)})
_KINDS: Final = {
    0: _SMALL | {(1, 16), (3, 32)},
    1: _SMALL | {(1, 12), (1, 16), (1, 32), (2, 16), (2, 32), (3, 32)},
    2: {(1, 8), (1, 16)},
    3: _SMALL,
    5: {(1, 8), (1, 16)},
    6: {(1, 8)},
    8: {(1, 8)},
}
"""For each colour the formats and bits of a sample."""
_EXTRAS: Final = {(1, 8): {0, 2}, (2, 8): {0, 1, 2}, (2, 16): {0, 1, 2}, (5, 8): {0}}
"""For colour and bits, what one more channel may be: of no meaning, or alpha that the colours are
multiplied with or not."""
_LITTLE_ENDIAN: Final = frozenset({(0, 1, 16), (1, 1, 12), (1, 1, 32)})
_RAW_IF_BIG_ENDIAN: Final = frozenset({(2, 16), (2, 32), (3, 32)})


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

    Images of more than `max_megapixels` are refused before anything is decoded. `content` are the
    file's bytes, where they do not come from disk; `path` is then a name for errors, and nothing of
    that name is opened. An `ImageError` says that the file is missing, empty, damaged, too large or
    of an unknown format.
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
    head = stream.read(16)
    stream.seek(0)
    if not head:
        raise ImageError(path, "the file is empty")
    if head.startswith(b"MM\0+"):
        raise ImageError(
            path, "big-endian BigTIFF is not supported; save it as a plain TIFF or little-endian"
        )
    for signature, reader in _READERS:
        if head.startswith(signature):
            if reader is TiffImageFile:
                # Before Pillow's reader, which takes some kinds that are not read for damage.
                tags = ImageFileDirectory_v2(head if head[2:3] == b"+" else head[:8])
                stream.seek(tags.next)
                tags.load(stream)
                stream.seek(0)
                check_kind(path, tags)
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


def check_kind(path: Path, tags: ImageFileDirectory_v2) -> None:
    """Refuse a TIFF file, by the tags of its first page, that might be read wrongly."""
    if _WIDTH in tags and not _is_read(tags):
        raise ImageError(
            path,
            f"this kind of TIFF is not supported ({_describe(tags)}); save it as 8-bit grey or "
            "RGB, as unsigned 16-bit grey, or as 32-bit float grey",
        )


def is_inverted(tags: ImageFileDirectory_v2) -> bool:
    """Whether 0 stands for white. Pillow inverts such values of at most 8 bits by itself."""
    return bool(tags.get(_PHOTOMETRIC, 0) == 0)


def bits_of(tags: ImageFileDirectory_v2) -> int:
    """Bits of a sample."""
    return int(max(tags.get(_BITS, (1,))))


def _is_read(tags: ImageFileDirectory_v2) -> bool:
    colour, compression = tags.get(_PHOTOMETRIC, 0), tags.get(_COMPRESSION, 1)
    forms, bits = set(tags.get(_FORMAT, (1,))), set(tags.get(_BITS, (1,)))
    if compression not in _COMPRESSIONS or len(forms) > 1 or len(bits) > 1:
        return False
    (form,), (depth,) = forms, bits
    raw, big_endian = compression == _RAW, tags.prefix == b"MM"
    return (
        (form, depth) in _KINDS.get(colour, ())
        and _channels_are_read(tags, colour, depth, raw)
        and (depth <= 8 or tags.get(_FILL_ORDER, 1) == 1)
        and not (big_endian and (colour, form, depth) in _LITTLE_ENDIAN)
        and not (big_endian and not raw and (form, depth) in _RAW_IF_BIG_ENDIAN)
        and (raw or depth != 12)
        # Uncompressed, it may have fewer colours than pixels.
        and not (colour == 6 and compression != _JPEG)
    )


def _channels_are_read(tags: ImageFileDirectory_v2, colour: int, depth: int, raw: bool) -> bool:
    channels, extra = _CHANNELS.get(colour, 1), tuple(tags.get(_EXTRA, ()))
    count = tags.get(_SAMPLES, channels if tags.get(_COMPRESSION) == _JPEG else 1)
    # A fourth channel of RGB that nothing is said about is taken for alpha.
    if not extra and (colour, count) == (2, 4):
        extra = (2,)
    if len(extra) > 1 or count != channels + len(extra):
        return False
    if not set(extra) <= _EXTRAS.get((colour, depth), set()):
        return False
    apart = count > 1 and tags.get(_PLANAR, 1) == 2
    return not apart or (colour in (2, 5) and set(extra) <= {2} and (depth == 8 or not raw))


def _describe(tags: ImageFileDirectory_v2) -> str:
    colour, bits = tags.get(_PHOTOMETRIC, 0), tags.get(_BITS, (1,))
    count, form = tags.get(_SAMPLES, 1), max(tags.get(_FORMAT, (1,)))
    words = [
        f"{max(bits)}-bit {_FORMATS.get(form, f'format {form}')}".strip(),
        _COLOURS.get(colour, f"colour {colour}"),
        f"of {count} channel{'s' * (count > 1)}",
        "in planes of their own" if count > 1 and tags.get(_PLANAR, 1) == 2 else "",
        "big-endian" if tags.prefix == b"MM" else "little-endian",
        f"compression {tags.get(_COMPRESSION, 1)}",
    ]
    return ", ".join(word for word in (" ".join(filter(None, words[:4])), *words[4:]))
