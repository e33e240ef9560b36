"""Files built byte by byte, and damage done to files that Pillow wrote. The same in every run."""

import struct
import zlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIGHT, WIDTH = 24, 40
"""Size of every picture that is not about its size."""
_TYPES = {"B": 1, "H": 3, "I": 4}


def picture(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """(H, W, 3) noise, which does not compress, so that half a file lacks half of its pixels.

    It is not red: to the network of the tests it is a good part, without outlines.
    """
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    pixels[..., 0] //= 4
    return pixels


def save(image: Image.Image | NDArray[Any], format: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def cut(content: bytes, share: float = 0.6) -> bytes:
    """The start of a file."""
    return content[: int(len(content) * share)]


def patch(content: bytes, at: int, new: bytes) -> bytes:
    """A file with some bytes overwritten."""
    return content[:at] + new + content[at + len(new) :]


def chunk(kind: bytes, data: bytes, *, crc: int | None = None, length: int | None = None) -> bytes:
    """A chunk of a PNG file, with its right check sum and length unless others are given."""
    checked = zlib.crc32(kind + data) if crc is None else crc
    size = len(data) if length is None else length
    return struct.pack(">I", size) + kind + data + struct.pack(">I", checked)


def ihdr(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """The header chunk of a PNG file."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png(
    rows: NDArray[Any] | None = None,
    *,
    depth: int = 8,
    colour: int = 2,
    header: bytes | None = None,
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
    data: bytes | None = None,
    end: bytes | None = None,
) -> bytes:
    """A PNG file of unfiltered rows, any part of which may be replaced.

    Args:
        rows: (H, W) or (H, W, C), big-endian where deep; the usual picture by default.
        depth: Bits a channel.
        colour: PNG's colour type.
        header: The chunk IHDR.
        before: Chunks between header and pixels.
        after: Chunks behind the pixels.
        data: The chunks of the pixels.
        end: The chunk IEND.
    """
    rows = picture() if rows is None else rows
    if header is None:
        header = ihdr(rows.shape[1], rows.shape[0], depth, colour)
    if data is None:
        lines = b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in rows)
        data = chunk(b"IDAT", zlib.compress(lines))
    end = chunk(b"IEND", b"") if end is None else end
    return b"".join((PNG_SIGNATURE, header, *before, data, *after, end))


def bmp(
    width: int, height: int, *, bits: int = 24, data: bytes = b"", compression: int = 0
) -> bytes:
    """A BMP file; a negative height means rows from top to bottom."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, *[0] * 5)
    palette = b"" if bits > 8 else b"".join(bytes((i, i, i, 0)) for i in range(1 << min(bits, 8)))
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + palette + data


def tiff(
    tags: dict[int, tuple[str, Sequence[int]]],
    data: bytes = b"",
    *,
    next_ifd: int = 0,
    counts: dict[int, int] | None = None,
) -> bytes:
    """A little-endian TIFF file of one page; its pixels begin at byte 8.

    Args:
        tags: Numbers to a type (B, H, I) and values.
        data: The strip of pixels.
        next_ifd: Where the next page is said to begin.
        counts: What to declare instead of a tag's number of values.
    """
    start = 8 + len(data)
    ifd, extra = b"", b""
    behind = start + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            where = struct.pack("<I", behind + len(extra))
            extra += packed
        else:
            where = packed.ljust(4, b"\0")
        count = (counts or {}).get(tag, len(values))
        ifd += struct.pack("<HHI", tag, _TYPES[kind], count) + where
    head = b"II*\0" + struct.pack("<I", start)
    return head + data + struct.pack("<H", len(tags)) + ifd + struct.pack("<I", next_ifd) + extra


def grey_tags(
    width: int = WIDTH, height: int = HEIGHT, **changes: tuple[str, Sequence[int]]
) -> dict[int, tuple[str, Sequence[int]]]:
    """The tags of 8-bit grey; changes are called `t<number>`."""
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8]),
        259: ("H", [1]),
        262: ("H", [1]),
        273: ("I", [8]),
        277: ("H", [1]),
        278: ("I", [height]),
        279: ("I", [min(width * height, 2**32 - 1)]),
    }
    return tags | {int(name[1:]): value for name, value in changes.items()}


def jpeg_segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(*segments: bytes, **options: Any) -> bytes:
    """The usual picture as a JPEG file, with segments behind its first marker."""
    content = save(picture(), "JPEG", quality=90, **options)
    return content[:2] + b"".join(segments) + content[2:]


def jpeg_of_size(width: int, height: int) -> bytes:
    """The usual JPEG file, with another size in its frame header."""
    content = jpeg()
    return patch(content, content.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def riff(kind: bytes, *chunks: bytes) -> bytes:
    """A RIFF container."""
    body = kind + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of_size(width: int, height: int) -> bytes:
    """A WebP file whose canvas is said to be large, around the usual lossless picture."""
    inner = save(picture(), "WEBP", lossless=True)[12:]
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return riff(b"WEBP", b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + canvas, inner)


def exif(orientation: int, padding: int = 0) -> Image.Exif:
    """EXIF data with an orientation and a long description."""
    made = Image.Exif()
    made[0x0112] = orientation
    if padding:
        made[0x010E] = "x" * padding
    return made
