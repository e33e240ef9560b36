"""Files whose content is hostile."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bad_input.forge import (
    HEIGHT,
    PNG_SIGNATURE,
    WIDTH,
    bmp,
    chunk,
    cut,
    exif,
    grey_tags,
    ihdr,
    jpeg,
    jpeg_of_size,
    jpeg_segment,
    patch,
    picture,
    png,
    riff,
    save,
    tiff,
    webp_of_size,
)
from tests.bad_input.outcomes import (
    DAMAGED,
    EMPTY,
    FOREIGN,
    MEGAPIXELS,
    PILLOW_LIMIT,
    UNSUPPORTED,
    Answer,
    Case,
    Read,
    Refused,
)

Content = Callable[[], bytes]


def good(name: str, made: str, content: Content, height: int = HEIGHT, width: int = WIDTH) -> Case:
    read = Read(height, width)
    return Case(name, made, _writer(content), read, read, Answer(200))


def bad(name: str, made: str, content: Content, reason: str = DAMAGED) -> Case:
    answer = Answer(422, "bad_image")
    if reason == EMPTY:
        answer = Answer(422, "no_image")
    elif reason in (MEGAPIXELS, PILLOW_LIMIT):
        answer = Answer(413, "too_many_pixels")
    return Case(name, made, _writer(content), Refused(reason), Refused(reason), answer)


def _writer(content: Content) -> Callable[[Path], None]:
    return lambda path: _write(path, content())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _grey() -> np.ndarray:
    return picture()[..., 0]


def _floats(value: float) -> bytes:
    values = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    values[3, 5] = value
    return save(values, "TIFF")


def _pages(last: bytes = b"") -> bytes:
    pages = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    return save(pages[0], "TIFF", save_all=True, append_images=pages[1:]) + last


def _second_page_elsewhere() -> bytes:
    content = save(_grey(), "TIFF")
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    return patch(content, start + 2 + 12 * count, struct.pack("<I", 0x7FFFFFF0))


def _moving(format: str) -> bytes:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    return save(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)


def _palette(transparency: bytes | int) -> bytes:
    image = Image.fromarray(_grey() % 4, "L").convert("P")
    image.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10, 10, 10, 200])
    return save(image, "PNG", transparency=transparency)


@cache
def _zeros() -> bytes:
    """100 MB as a deflate stream."""
    return zlib.compress(bytes(100_000_000), 3)


def _profile(content: bytes) -> bytes:
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(content))


def _wrong_crc(kind: bytes) -> bytes:
    content = png(before=[chunk(b"tEXt", b"Comment\0x")])
    at = content.index(kind)
    (length,) = struct.unpack(">I", content[at - 4 : at])
    return patch(content, at + 4 + length, b"\xde\xad\xbe\xef")


def _without_end(content: bytes) -> bytes:
    return content[: content.rindex(b"\xff\xd9")]


def _many_scans() -> bytes:
    content = jpeg(progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * 2000 + content[-2:]


def _zip_behind(content: bytes) -> bytes:
    return content + b"PK\x05\x06" + bytes(18)


_HALF = "the first 60 % of a file"
_HTML = b"<!DOCTYPE html><title>404</title><script>alert(1)</script>"

EMPTY_AND_FOREIGN = (
    bad("empty.png", "no byte", lambda: b"", EMPTY),
    bad("one_byte.jpg", "the byte FF", lambda: b"\xff", FOREIGN),
    bad("zeros.png", "4096 zero bytes", lambda: bytes(4096), FOREIGN),
    bad("text.png", "a line of text", lambda: b"not an image\n", FOREIGN),
    bad("page.jpg", "a web server's error page", lambda: _HTML, FOREIGN),
    bad("drawing.png", "an SVG file", lambda: b"<svg xmlns='x' onload='x()'/>", FOREIGN),
    bad("moving.png", "a GIF file", lambda: save(_grey(), "GIF"), FOREIGN),
    bad("phone.jpg", "the head of a HEIC file", lambda: b"\0\0\0\x18ftypheic" + bytes(99), FOREIGN),
    bad("archive.png", "an empty ZIP file", lambda: b"PK\x05\x06" + bytes(18), FOREIGN),
    bad("utf16.png", "a PNG file behind a byte order mark", lambda: b"\xff\xfe" + png(), FOREIGN),
    bad("newlines.png", "a PNG file whose line ends a transfer rewrote",
        lambda: png().replace(b"\r\n", b"\n"), FOREIGN),
)  # fmt: skip

CUT = (
    bad("cut.png", _HALF, lambda: cut(png())),
    bad("cut.jpg", _HALF, lambda: cut(jpeg())),
    bad("cut.bmp", _HALF, lambda: cut(save(picture(), "BMP"))),
    bad("cut.tif", _HALF, lambda: cut(save(picture(), "TIFF", compression="tiff_lzw"))),
    bad("cut.webp", _HALF, lambda: cut(save(picture(), "WEBP", lossless=True))),
    bad("signature.png", "a PNG file's signature alone", lambda: PNG_SIGNATURE),
    bad("signature.jpg", "a JPEG file's first marker alone", lambda: b"\xff\xd8\xff"),
    bad("signature.bmp", "the letters BM", lambda: b"BM"),
    bad("signature.tif", "a TIFF file's signature alone", lambda: b"II*\0"),
    bad("signature.webp", "RIFF and WEBP, nothing else", lambda: riff(b"WEBP")),
    bad("header.png", "a PNG file that ends behind its header", lambda: png()[:33]),
    bad("progressive_cut.jpg", "60 % of a progressive JPEG", lambda: cut(jpeg(progressive=True))),
    bad("no_end.png", "a PNG file without its last chunk, IEND", lambda: png(end=b"")),
    bad("no_end.jpg", "a JPEG file without its end marker", lambda: _without_end(jpeg())),
    bad("no_data.png", "a PNG file without pixels", lambda: png(data=b"")),
)

CONTAINERS = (
    bad("crc_header.png", "a wrong check sum of IHDR", lambda: _wrong_crc(b"IHDR")),
    bad("crc_pixels.png", "a wrong check sum of IDAT", lambda: _wrong_crc(b"IDAT")),
    bad("crc_comment.png", "a wrong check sum of a comment", lambda: _wrong_crc(b"tEXt")),
    bad("length.png", "a chunk that is said to have 2^31 - 1 bytes",
        lambda: png(before=[chunk(b"tEXt", b"a\0b", length=2**31 - 1)])),
    bad("stream.png", "pixels that are no deflate stream",
        lambda: png(data=chunk(b"IDAT", b"\x78\x9c" + bytes(range(200))))),
    bad("short.png", "a sound deflate stream of half of the rows",
        lambda: png(data=chunk(b"IDAT", zlib.compress(bytes(HEIGHT * WIDTH))))),
    bad("filter.png", "row filters that do not exist", lambda: png(
        data=chunk(b"IDAT", zlib.compress(b"\x09" * (HEIGHT * (3 * WIDTH + 1)))))),
    bad("depth.png", "3 bits a channel", lambda: png(header=ihdr(WIDTH, HEIGHT, 3))),
    bad("no_header.png", "no IHDR", lambda: png(header=b"")),
    bad("no_size.png", "0 x 0 pixels", lambda: png(header=ihdr(0, 0))),
    bad("no_size.jpg", "0 x 0 pixels", lambda: jpeg_of_size(0, 0)),
    bad("no_size.bmp", "0 x 0 pixels", lambda: bmp(0, 0)),
    bad("no_size.tif", "0 x 0 pixels", lambda: tiff(grey_tags(0, 0))),
    bad("markers.jpg", "random bytes behind the first marker",
        lambda: b"\xff\xd8" + b"\xff" + picture().tobytes()),
    bad("huffman.jpg", "Huffman tables filled with FF", lambda: patch(
        jpeg(), jpeg().index(b"\xff\xc4") + 5, b"\xff" * 300)),
    bad("arithmetic.jpg", "a frame of an unknown kind", lambda: patch(
        jpeg(), jpeg().index(b"\xff\xc0"), b"\xff\xc8")),
    bad("car.bmp", "a text that begins with BM", lambda: b"BMW brochure, spring 1999" * 9),
    bad("bits.bmp", "7 bits a pixel",
        lambda: bmp(WIDTH, HEIGHT, bits=7, data=bytes(9999)), UNSUPPORTED),
    bad("rle.bmp", "a run-length code that ends at once",
        lambda: bmp(WIDTH, HEIGHT, bits=8, compression=1, data=b"\0\1")),
    bad("lowest.bmp", "a height of -2^31", lambda: bmp(1, -(2**31)), MEGAPIXELS),
    bad("song.webp", "a WAV file", lambda: riff(b"WAVE", bytes(64))),
    bad("offset.tif", "a directory behind the end", lambda: b"II*\0\xff\xff\xff\x7f" + bytes(40)),
    bad("strips.tif", "pixels behind the end",
        lambda: tiff(grey_tags(t273=("I", [2**31])), bytes(HEIGHT * WIDTH))),
    bad("no_tags.tif", "a directory without entries", lambda: tiff({})),
    bad("compression.tif", "compression 9999",
        lambda: tiff(grey_tags(t259=("H", [9999])), bytes(HEIGHT * WIDTH)), UNSUPPORTED),
    bad("counts.tif", "a tag that is said to have 2^32 - 1 values",
        lambda: tiff(grey_tags(), bytes(HEIGHT * WIDTH), counts={273: 2**32 - 1})),
    bad("samples.tif", "65535 channels",
        lambda: tiff(grey_tags(t277=("H", [65535])), bytes(HEIGHT * WIDTH)), UNSUPPORTED),
    bad("complex.tif", "complex numbers as pixels", lambda: tiff(
        grey_tags(t258=("H", [64]), t339=("H", [6])), bytes(8 * HEIGHT * WIDTH)), UNSUPPORTED),
    bad("half.tif", "floats of 16 bits", lambda: tiff(
        grey_tags(t258=("H", [16]), t339=("H", [3])), bytes(2 * HEIGHT * WIDTH)), UNSUPPORTED),
    bad("double.tif", "floats of 64 bits", lambda: tiff(
        grey_tags(t258=("H", [64]), t339=("H", [3])), bytes(8 * HEIGHT * WIDTH)), UNSUPPORTED),
    bad("bayer.tif", "a Bayer pattern", lambda: tiff(
        grey_tags(t262=("H", [32803])), bytes(HEIGHT * WIDTH)), UNSUPPORTED),
)  # fmt: skip

LARGE = (
    bad("bomb.png", "30000 x 30000 black pixels in 110 KB",
        lambda: png(header=ihdr(30000, 30000, 1, 0),
                    data=chunk(b"IDAT", zlib.compress(bytes(30000 * 3751), 3))), MEGAPIXELS),
    bad("huge.png", "is said to have (2^31 - 1)^2 pixels",
        lambda: png(header=ihdr(2**31 - 1, 2**31 - 1)), MEGAPIXELS),
    bad("huge.jpg", "is said to have 65500 x 65500 pixels",
        lambda: jpeg_of_size(65500, 65500), MEGAPIXELS),
    bad("huge.bmp", "is said to have (2^31 - 1)^2 pixels",
        lambda: bmp(2**31 - 1, 2**31 - 1), MEGAPIXELS),
    bad("huge.tif", "is said to have (2^31 - 1)^2 pixels",
        lambda: tiff(grey_tags(2**31 - 1, 2**31 - 1)), MEGAPIXELS),
    bad("huge.webp", "is said to have 16383 x 16383 pixels",
        lambda: webp_of_size(16383, 16383), PILLOW_LIMIT),
    bad("scans.jpg", "a progressive JPEG whose last scan comes 2000 times", _many_scans),
    bad("profile_bomb.png", "a colour profile of 100 MB in 100 KB",
        lambda: png(before=[chunk(b"iCCP", b"icc\0\0" + _zeros())])),
    bad("text_bomb.png", "a comment of 100 MB in 100 KB", lambda: png(
        before=[chunk(b"zTXt", b"Comment\0\0" + _zeros())])),
    good("pixel_bomb.png", "pixels of 100 MB behind those of 24 x 40",
         lambda: png(data=chunk(b"IDAT", _zeros()))),
)  # fmt: skip

SHAPES = (
    good("1x1.png", "one pixel", lambda: png(picture(1, 1)), 1, 1),
    good("wide.png", "1 x 20000 pixels", lambda: png(picture(1, 20000)), 1, 20000),
    good("tall.jpg", "20000 x 1 pixels", lambda: save(picture(20000, 1), "JPEG"), 20000, 1),
)

COLOURS = (
    good("cmyk.jpg", "CMYK", lambda: save(Image.new("CMYK", (WIDTH, HEIGHT), 9), "JPEG")),
    good("cmyk.tif", "CMYK", lambda: save(Image.new("CMYK", (WIDTH, HEIGHT), 9), "TIFF")),
    good("lab.tif", "CIE Lab", lambda: save(Image.new("LAB", (WIDTH, HEIGHT), 9), "TIFF")),
    good("bits.png", "1 bit a pixel", lambda: save(_grey() > 30, "PNG")),
    good("grey16.png", "16-bit grey", lambda: save(_grey().astype(np.uint16) * 257, "PNG")),
    good("colour16.png", "16-bit colour", lambda: png(picture().astype(">u2") * 257, depth=16)),
    good("big_endian.tif", "16-bit grey, big-endian", lambda: save(
        Image.frombytes("I;16B", (WIDTH, HEIGHT), bytes(2 * WIDTH * HEIGHT)), "TIFF")),
    good("palette.png", "a palette with a transparent entry", lambda: _palette(1)),
    good("palette_alpha.png", "a palette with degrees of transparency",
         lambda: _palette(bytes((0, 90, 180, 255)))),
    bad("no_palette.png", "a palette image without its palette",
        lambda: png(picture()[..., 0], colour=3)),
    good("alpha.png", "transparent all over", lambda: save(
        np.dstack([picture(), np.zeros((HEIGHT, WIDTH), np.uint8)]), "PNG")),
    good("unit.tif", "floats from 0 to 1", lambda: _floats(1.0)),
    bad("nan.tif", "floats, one of them NaN", lambda: _floats(np.nan), "values from 0 to 1"),
    bad("infinity.tif", "floats, one of them infinite", lambda: _floats(np.inf),
        "values from 0 to 1"),
    bad("float255.tif", "floats from 0 to 255", lambda: _floats(255.0), "values from 0 to 1"),
    bad("negative.tif", "32-bit integers, one of them negative",
        lambda: save(_grey().astype(np.int32) - 1, "TIFF"), "do not fit into 16 bits"),
)  # fmt: skip

METADATA = (
    good("turned.jpg", "EXIF orientation 6", lambda: jpeg(exif=exif(6)), WIDTH, HEIGHT),
    good("orientation99.jpg", "EXIF orientation 99", lambda: jpeg(exif=exif(99))),
    good("huge_exif.jpg", "EXIF data of 65,000 bytes", lambda: jpeg(exif=exif(1, 65_000))),
    good("huge_exif.png", "EXIF data of 5 MB", lambda: save(
        picture(), "PNG", exif=exif(1, 5_000_000))),
    good("exif_noise.jpg", "EXIF data of random bytes", lambda: jpeg(
        jpeg_segment(0xE1, b"Exif\0\0" + picture().tobytes()))),
    good("exif_offset.jpg", "EXIF data whose directory lies behind its end", lambda: jpeg(
        jpeg_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f"))),
    good("icc.png", "a colour profile of random bytes",
         lambda: png(before=[_profile(picture().tobytes())])),
    good("icc.jpg", "a colour profile of random bytes", lambda: jpeg(
        jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01" + picture().tobytes()))),
    good("icc_parts.jpg", "part 9 of 3 of a colour profile", lambda: jpeg(
        jpeg_segment(0xE2, b"ICC_PROFILE\0\x09\x03" + bytes(99)))),
    good("resolution.jpg", "0 x 0 dots an inch, 0/0 in the EXIF data", lambda: jpeg(dpi=(0, 0))),
    good("scans_in_comment.jpg", "500 markers of scans in a comment, and as many behind the end",
         lambda: jpeg(jpeg_segment(0xFE, b"\xff\xda\0\2" * 500)) + b"\xff\xda\0\2" * 500),
    good("progressive.jpg", "ten scans, as encoders write them", lambda: jpeg(progressive=True)),
    good("comments.jpg", "500 comments", lambda: jpeg(*[jpeg_segment(0xFE, b"x" * 90)] * 500)),
)  # fmt: skip

SEVERAL = (
    good("animated.png", "two frames: the first counts", lambda: _moving("PNG")),
    good("animated.webp", "two frames: the first counts", lambda: _moving("WEBP")),
    good("pages.tif", "two pages: the first counts", lambda: _pages()),
    good("page_elsewhere.tif", "a second page behind the end", _second_page_elsewhere),
    good("page_loop.tif", "a page that is its own next page", lambda: tiff(
        grey_tags(), bytes(HEIGHT * WIDTH), next_ifd=8 + HEIGHT * WIDTH)),
    good("top_down.bmp", "a negative height", lambda: bmp(
        WIDTH, -HEIGHT, data=bytes(3 * WIDTH * HEIGHT))),
    good("zip.png", "a PNG file that is a ZIP file as well", lambda: _zip_behind(png())),
    good("script.jpg", "a JPEG file with a script in its comment", lambda: jpeg(
        jpeg_segment(0xFE, _HTML))),
    good("page.png", "a PNG file with a web page in an unknown chunk",
         lambda: png(before=[chunk(b"haXx", _HTML)])),
    good("jpeg.png", "a JPEG file with another ending", jpeg),
    good("png.jpg", "a PNG file with another ending", png),
)  # fmt: skip

PICTURES = (
    *EMPTY_AND_FOREIGN,
    *CUT,
    *CONTAINERS,
    *LARGE,
    *SHAPES,
    *COLOURS,
    *METADATA,
    *SEVERAL,
)
