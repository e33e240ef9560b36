"""A picture that Pillow has opened is the file: equal pixels, or refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from omnial.config.settings import DataSettings
from omnial.data.decode import network_input, read_rgb
from omnial.data.image_file import ImageError
from tests.data.test_decode import deep_png

DEFAULT = DataSettings(height=32, width=48)
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (21, 37), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (21, 37), dtype=np.uint16)
COLOUR = RNG.integers(0, 256, (21, 37, 3), dtype=np.uint8)
ALPHA = np.dstack([COLOUR, BYTES])


def plain(name, image, **options):
    return name, lambda path: Image.fromarray(image).save(path, **options)


def turned(name, image, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return name, lambda path: Image.fromarray(image).save(path, exif=exif, **options)


def palette(path):
    image = Image.fromarray(BYTES % 3).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(path, transparency=1)


def opaque(channels):
    return RNG.integers(0, 65536, (21, 37, channels), dtype=np.uint16)


def by_tifffile(name, values, **options):
    return name, lambda path: tifffile.imwrite(path, values, metadata=None, **options)


UNIT = RNG.random((21, 37), dtype=np.float32)
CASES = {
    "grey": plain("x.png", BYTES),
    "colour": plain("x.bmp", COLOUR),
    "photo": plain("x.jpg", COLOUR),
    "turned-photo": turned("x.jpg", COLOUR, 6),
    "turned-png": turned("x.png", DEEP, 8),
    "turned-tiff": turned("x.tif", COLOUR, 5),
    "turned-deep-tiff": turned("x.tif", DEEP, 6),
    "turned-packed-tiff": turned("x.tif", DEEP, 7, compression="tiff_lzw"),
    "bits": plain("x.png", BYTES > 99),
    "16-bit": plain("x.png", DEEP),
    "16-bit-tiff": plain("x.tif", DEEP),
    "big-endian": by_tifffile("x.tif", DEEP, byteorder=">"),
    "white-is-zero": by_tifffile("x.tif", DEEP, photometric="miniswhite"),
    "float-white-is-zero": by_tifffile("x.tif", UNIT, photometric="miniswhite"),
    "float": plain("x.tif", UNIT),
    "float-too-large": plain("x.tif", UNIT * 300),
    "integers": plain("x.tif", DEEP.astype(np.int32)),
    "negative": plain("x.tif", BYTES.astype(np.int32) - 1),
    "signed-bytes": by_tifffile("x.tif", (BYTES // 2).astype(np.int8)),
    "planes": by_tifffile(
        "x.tif", np.moveaxis(opaque(3), -1, 0), photometric="rgb", planarconfig="separate"
    ),
    "alpha": plain("x.png", ALPHA),
    "grey-alpha": plain("x.png", ALPHA[..., 2:]),
    "alpha-webp": plain("x.webp", ALPHA, lossless=True),
    "deep-alpha": ("x.png", lambda path: deep_png(path, opaque(4), 6)),
    "deep-grey-alpha": ("x.png", lambda path: deep_png(path, opaque(2), 4)),
    "deep-colour": ("x.png", lambda path: deep_png(path, opaque(3), 2)),
    "deep-colour-tiff": by_tifffile("x.tif", opaque(3), photometric="rgb"),
    "multiplied-alpha": by_tifffile(
        "x.tif", ALPHA[..., 2:], photometric="minisblack", extrasamples=["assocalpha"]
    ),
    "palette": ("x.png", palette),
    "cmyk": ("x.jpg", lambda path: Image.fromarray(COLOUR).convert("CMYK").save(path)),
    "lab": ("x.tif", lambda path: Image.new("LAB", (37, 21), (90, 120, 140)).save(path)),
}


def found(source, settings):
    """Pixels, or None where it is refused."""
    try:
        return read_rgb(source, settings)
    except ImageError:
        return None


@pytest.mark.parametrize("bits", [16, 12])
@pytest.mark.parametrize("case", CASES)
def test_equal_or_refused(tmp_path, case, bits):
    name, write = CASES[case]
    path, settings = tmp_path / name, DataSettings(significant_bits=bits)
    write(path)
    expected = found(path, settings)
    for load in (False, True):
        try:
            image = Image.open(path)
        except OSError:
            assert expected is None
            return
        with image:
            if load:
                image.load()
            # Twice: the first call must not change the picture.
            for _ in range(2):
                seen = found(image, settings)
                if expected is None:
                    assert seen is None
                elif seen is not None:
                    assert seen.dtype == expected.dtype
                    assert np.array_equal(seen, expected)
                    same = network_input(path, DEFAULT)[0] if bits == 16 else None
                    if same is not None:
                        assert np.array_equal(network_input(image, DEFAULT)[0], same)
            # Only what can no longer be known may be refused.
            assert (seen is None) == (expected is None) or (load and bits == 12)


def test_a_copy_in_memory_is_the_file(tmp_path):
    for case in ("16-bit", "float", "alpha", "palette", "turned-photo", "integers"):
        name, write = CASES[case]
        path = tmp_path / f"{case}-{name}"
        write(path)
        with Image.open(path) as image:
            copy = image.copy()
        assert np.array_equal(read_rgb(copy, DEFAULT), read_rgb(path, DEFAULT))


def test_a_draft_is_taken_as_it_is(tmp_path):
    path = tmp_path / "x.jpg"
    Image.new("RGB", (64, 64), (9, 99, 199)).save(path)
    with Image.open(path) as image:
        image.draft("RGB", (16, 16))
        assert read_rgb(image, DEFAULT).shape == (*image.size, 3) == (16, 16, 3)


def test_the_page_at_hand_counts(tmp_path):
    path = tmp_path / "x.tif"
    pages = [Image.fromarray(BYTES), Image.fromarray(255 - BYTES)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with Image.open(path) as image:
        image.seek(1)
        assert np.array_equal(read_rgb(image, DEFAULT)[..., 0], 255 - BYTES)


def test_a_closed_or_cut_or_huge_picture_is_named(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(COLOUR).save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(ImageError, match="closed before it was read") as caught:
        read_rgb(image, DEFAULT)
    assert caught.value.path == path
    with Image.open(path) as image, pytest.raises(ImageError, match="megapixels"):
        read_rgb(image, DataSettings(max_megapixels=1e-6))
    with pytest.raises(ImageError, match=r"the Pillow image: .*megapixels"):
        read_rgb(Image.fromarray(COLOUR), DataSettings(max_megapixels=1e-6))
    path.write_bytes(path.read_bytes()[:-400])
    with Image.open(path) as image, pytest.raises(ImageError, match="damaged or incomplete"):
        read_rgb(image, DEFAULT)
