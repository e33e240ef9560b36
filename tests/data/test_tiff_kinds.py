"""Every kind of TIFF comes out right or is called unsupported; tifffile writes the files."""

import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit, read_rgb
from omnial.data.image_file import ImageError, image_size
from tests.bad_input.forge import tiff

DEFAULT = DataSettings()
SHAPE = HEIGHT, WIDTH = 21, 37
DTYPES = [
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", "complex64"),
]
COLOURS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "palette": 1, "separated": 4, "cfa": 1}
READ = {
    *itertools.product(("bool", "uint8", "uint16", "float32"), ("minisblack", "miniswhite"), [""]),
    *itertools.product(("int16", "int32", "uint32"), ("minisblack",), [""]),
    *itertools.product(("uint8",), ("minisblack",), ("unassalpha", "unspecified")),
    *itertools.product(
        ("uint8", "uint16"), ("rgb",), ("", "unassalpha", "assocalpha", "unspecified")
    ),
    *itertools.product(("uint8", "uint16"), ("separated",), [""]),
    ("uint8", "separated", "unspecified"),
    ("uint8", "palette", ""),
}
"""Kinds that must be read in one layout at least."""


def draw(dtype, channels):
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype).kind
    if kind in "fc":
        return rng.random((*SHAPE, channels)).astype(dtype)
    if kind == "b":
        return rng.random((*SHAPE, channels)) < 0.5
    return rng.integers(0, min(np.iinfo(dtype).max, 65535) + 1, (*SHAPE, channels)).astype(dtype)


def truth(values, colour, extra, palette):
    """The picture in [0, 1], and how far 8 bits in between may take it away."""
    if colour == "palette":
        return np.moveaxis(palette >> 8, 0, -1)[values[..., 0]] / 255, 1e-6
    scale = {"f": 1, "c": 1, "b": 1}.get(values.dtype.kind, 255 if values.itemsize == 1 else 65535)
    unit = values.astype(float) / scale
    picture, last = unit[..., : COLOURS[colour]], unit[..., -1:]
    rounded = scale == 65535 and COLOURS[colour] > 1
    if colour == "miniswhite":
        picture = 1 - picture
    if colour == "separated":
        picture, rounded = (1 - picture[..., :3]) * (1 - picture[..., 3:]), True
    if extra == "unassalpha":
        picture, rounded = picture * last, True
    rounded = rounded or extra == "assocalpha"
    return np.broadcast_to(picture, (*SHAPE, 3)), 2.01 / 255 if rounded else 1e-6


LAYOUTS = [
    {"byteorder": order, "planarconfig": planar, **more}
    for order in "<>"
    for planar in ("contig", "separate")
    for more in (
        {},
        {"bigtiff": True},
        {"tile": (16, 32)},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
    )
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_is_right_or_the_kind_is_not_supported(tmp_path, dtype):
    path, rng = tmp_path / "x.tif", np.random.default_rng(1)
    read = set()
    extras = ("", "unassalpha", "assocalpha", "unspecified")
    for colour, extra, layout in itertools.product(COLOURS, extras, LAYOUTS):
        channels = COLOURS[colour] + bool(extra)
        if "predictor" in layout and dtype not in ("uint8", "uint16", "int16", "int32"):
            continue
        if channels == 1 and layout["planarconfig"] == "separate":
            continue
        values, options = draw(dtype, channels), dict(layout)
        palette = rng.integers(0, 2**16, (3, 2 ** min(16, 8 * values.itemsize)), dtype=np.uint16)
        if colour == "palette":
            if dtype not in ("uint8", "uint16") or extra:
                continue
            options["colormap"] = palette
        if colour == "cfa":
            if extra:
                continue
            pattern = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((0, 1, 1, 2)), True)]
            options["extratags"] = pattern
        if extra == "assocalpha" and values.dtype.kind == "u":
            values = np.minimum(values, values[..., -1:])
        if extra:
            options["extrasamples"] = [extra]
        if channels == 1:
            options["planarconfig"] = None
        stored = np.moveaxis(values, -1, 0) if options["planarconfig"] == "separate" else values
        stored = np.ascontiguousarray(stored[..., 0] if channels == 1 else stored)
        tifffile.imwrite(path, stored, photometric=colour, metadata=None, **options)
        try:
            found = as_unit(read_rgb(path, DEFAULT))
        except ImageError:
            for read_file in (image_size, lambda path: read_rgb(path, DEFAULT)):
                with pytest.raises(ImageError, match="not supported"):
                    read_file(path)
            continue
        expected, slack = truth(values, colour, extra, palette)
        assert np.abs(found - expected).max() <= slack, (colour, extra, layout)
        assert image_size(path) == SHAPE
        read.add((dtype, colour, extra))
    assert read == {kind for kind in READ if kind[0] == dtype}


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_negative_values_are_refused(tmp_path, dtype):
    values = np.full(SHAPE, 7, dtype=dtype)
    values[3, 5] = -1
    for order, compression in itertools.product("<>", (None, "zlib")):
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, values, byteorder=order, compression=compression)
        with pytest.raises(ImageError, match=r"not supported|do not fit"):
            read_rgb(path, DEFAULT)


def grey(pixels, bits=8, **tags):
    entries = {256: ("I", [WIDTH]), 257: ("I", [HEIGHT]), 258: ("H", [bits]), 259: ("H", [1])}
    entries |= {262: ("H", [1]), 273: ("I", [8]), 277: ("H", [1]), 278: ("I", [HEIGHT])}
    entries |= {279: ("I", [len(pixels)])}
    return tiff(entries | {int(name[1:]): value for name, value in tags.items()}, pixels)


def packed(values):
    """12 bits a value, the highest first, every row padded to whole bytes."""
    bits = (values[..., None] >> np.arange(11, -1, -1) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(len(values), -1), axis=1).tobytes()


def test_packed_12_bits_are_scaled_by_what_the_file_says(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, SHAPE)
    path = tmp_path / "x.tif"
    path.write_bytes(grey(packed(values), 12))
    assert np.array_equal(tifffile.TiffFile(path).pages[0].shape, SHAPE)
    for bits in (16, 14, 12):
        found = read_rgb(path, DataSettings(significant_bits=bits))
        assert np.abs(found - values[..., None] / 4095).max() < 1e-6
    with pytest.raises(ImageError, match="do not fit into 10 bits"):
        read_rgb(path, DataSettings(significant_bits=10))


@pytest.mark.parametrize(("bits", "read"), [(1, True), (8, True), (16, False)])
def test_bits_in_reverse_order(tmp_path, bits, read):
    values = np.random.default_rng(0).integers(0, 2**bits, SHAPE, dtype=np.uint16)
    rows = np.packbits(values.astype(bool), axis=1) if bits == 1 else values.astype(f"u{bits // 8}")
    turned = np.packbits(np.unpackbits(rows.view(np.uint8)), bitorder="little").tobytes()
    path = tmp_path / "x.tif"
    path.write_bytes(grey(turned, bits, t266=("H", [2])))
    if read:
        found = as_unit(read_rgb(path, DEFAULT))
        assert np.abs(found - values[..., None] / (2**bits - 1)).max() < 1e-6
    else:
        with pytest.raises(ImageError, match="not supported"):
            read_rgb(path, DEFAULT)


@pytest.mark.parametrize("compression", [6, 32771, 34712, 34892, 50002])
def test_an_unknown_compression_is_no_damage(tmp_path, compression):
    path = tmp_path / "x.tif"
    content = zlib.compress(bytes(HEIGHT * WIDTH))
    path.write_bytes(grey(content, t259=("H", [compression])))
    with pytest.raises(ImageError, match=f"not supported.*compression {compression}"):
        read_rgb(path, DEFAULT)


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma"]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_compressions_of_pillow(tmp_path, compression, dtype):
    values, path = draw(dtype, 1)[..., 0], tmp_path / "x.tif"
    Image.fromarray(values).save(path, compression=compression)
    expected, slack = truth(values[..., None], "minisblack", "", None)
    assert np.abs(as_unit(read_rgb(path, DEFAULT)) - expected).max() <= slack


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax(tmp_path, compression):
    values, path = draw("bool", 1)[..., 0], tmp_path / "x.tif"
    Image.fromarray(values).save(path, compression=compression)
    assert np.array_equal(read_rgb(path, DEFAULT)[..., 0], values * np.uint8(255))


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr"])
def test_jpeg_in_tiff(tmp_path, mode):
    ramp = np.linspace(0, 250, HEIGHT * WIDTH).reshape(SHAPE).astype(np.uint8)
    path = tmp_path / "x.tif"
    Image.fromarray(ramp).convert(mode).save(path, compression="jpeg", quality=100)
    assert np.abs(read_rgb(path, DEFAULT).astype(int) - ramp[..., None]).max() <= 12


def test_jpeg_and_bmp_files_of_kinds_that_are_not_read_are_no_damage(tmp_path):
    path = tmp_path / "x.bmp"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 24, 4, 64, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 118, 0, 0, 54) + header + bytes(64))
    with pytest.raises(ImageError, match="not supported"):
        read_rgb(path, DEFAULT)
    Image.new("L", (8, 8)).save(path, "JPEG")
    content = bytearray(path.read_bytes())
    content[content.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(content)
    with pytest.raises(ImageError, match="not supported"):
        read_rgb(path, DEFAULT)
