import os
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from omnial.config.settings import DataSettings
from omnial.data.decode import (
    ImageError,
    as_unit,
    network_input,
    network_mask,
    network_roi,
    read_mask,
    read_rgb,
)
from omnial.data.geometry import place
from omnial.data.image_file import TooManyPixelsError, image_size, open_image
from omnial.errors import UserError

DEFAULT = DataSettings()
BYTES = (np.arange(60) * 4).astype(np.uint8).reshape(6, 10)
COLOUR = (np.arange(180)).astype(np.uint8).reshape(6, 10, 3)
DEEP = (np.arange(60) * 1111 % 65536).astype(np.uint16).reshape(6, 10)

# EXIF orientation to what turns the stored pixels upright (EXIF 2.32, tag 0x0112).
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: np.rot90,
}


def grey(array):
    return np.repeat(array[..., np.newaxis], 3, axis=2)


def save(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def deep_png(path, array, colour_type):
    """Write a 16-bit PNG, of which Pillow writes the grey kind only."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = array.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.TIFF", "x.webp", "x.PNG"])
def test_lossless_formats_give_the_same_pixels(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = read_rgb(save(tmp_path / name, COLOUR, **options), DEFAULT)
    assert image.dtype == np.uint8
    assert np.array_equal(image, COLOUR)


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.webp"])
def test_lossy_formats_come_close(tmp_path, name):
    ramp = np.repeat(np.linspace(40, 200, 64, dtype=np.uint8)[np.newaxis], 64, axis=0)
    image = read_rgb(save(tmp_path / name, grey(ramp), quality=95), DEFAULT)
    assert np.abs(image.astype(int) - grey(ramp)).max() <= 6


def test_the_content_decides_about_the_format(tmp_path):
    save(tmp_path / "x.png", COLOUR)
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert np.array_equal(read_rgb(tmp_path / "x.jpg", DEFAULT), COLOUR)


def test_grey_and_one_bit(tmp_path):
    assert np.array_equal(read_rgb(save(tmp_path / "l.png", BYTES), DEFAULT), grey(BYTES))
    bits = BYTES > 100
    expected = grey(bits.astype(np.uint8) * 255)
    assert np.array_equal(read_rgb(save(tmp_path / "1.png", bits), DEFAULT), expected)


def test_palette(tmp_path):
    image = Image.new("P", (10, 6))
    image.putdata((BYTES.ravel() % 3).tolist())
    palette = np.array([[10, 20, 30], [200, 0, 7], [0, 90, 255]], dtype=np.uint8)
    image.putpalette(palette.ravel().tolist())
    assert np.array_equal(
        read_rgb(save(tmp_path / "p.png", image), DEFAULT), palette[BYTES.astype(int) % 3]
    )
    # A transparent palette entry is black, whatever its colour.
    palette_with_hole = palette.copy()
    palette_with_hole[1] = 0
    clear = save(tmp_path / "t.png", image, transparency=1)
    assert np.array_equal(read_rgb(clear, DEFAULT), palette_with_hole[BYTES.astype(int) % 3])


def test_transparency_is_blended_over_black(tmp_path):
    alpha = np.array([[0, 255, 128]], dtype=np.uint8)
    rgba = np.dstack([np.full((1, 3, 3), 200, dtype=np.uint8), alpha])
    image = read_rgb(save(tmp_path / "rgba.png", rgba), DEFAULT)
    assert image.tolist() == [[[0] * 3, [200] * 3, [100] * 3]]
    la = Image.merge("LA", [Image.fromarray(rgba[..., 0]), Image.fromarray(alpha)])
    assert np.array_equal(read_rgb(save(tmp_path / "la.png", la), DEFAULT), image)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_transparent_colour_is_black(tmp_path, mode):
    image = Image.new(mode, (2, 1), "white")
    image.putpixel((1, 0), 0 if mode != "RGB" else (9, 8, 7))
    key = (255, 255, 255) if mode == "RGB" else 255
    path = save(tmp_path / "key.png", image, transparency=key)
    assert read_rgb(path, DEFAULT)[0, 0].tolist() == [0, 0, 0]


def test_cmyk(tmp_path):
    cmyk = Image.new("CMYK", (10, 6), (0, 255, 255, 0))
    path = save(tmp_path / "c.tif", cmyk)
    assert np.array_equal(read_rgb(path, DEFAULT), np.full((6, 10, 3), (255, 0, 0)))
    photo = read_rgb(save(tmp_path / "c.jpg", cmyk, quality=100), DEFAULT)
    assert np.abs(photo.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bits(tmp_path, name):
    image = read_rgb(save(tmp_path / name, DEEP), DEFAULT)
    assert image.dtype == np.float32
    assert np.allclose(image, grey(DEEP) / 65535, atol=1e-7)


def test_big_endian_and_32_bit_integers(tmp_path):
    big = Image.frombytes("I;16B", (10, 6), DEEP.astype(">u2").tobytes())
    assert np.allclose(
        read_rgb(save(tmp_path / "b.tif", big), DEFAULT), grey(DEEP) / 65535, atol=1e-7
    )
    wide = save(tmp_path / "i.tif", DEEP.astype(np.int32))
    assert np.allclose(read_rgb(wide, DEFAULT), grey(DEEP) / 65535, atol=1e-7)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_significant_bits(tmp_path, bits):
    some = DataSettings(significant_bits=bits)
    path = save(tmp_path / "x.png", np.array([[0, 2**bits - 1]], dtype=np.uint16))
    assert read_rgb(path, some)[0, :, 0].tolist() == [0.0, 1.0]
    path = save(tmp_path / "y.png", np.array([[0, 2**bits]], dtype=np.uint16))
    with pytest.raises(ImageError, match=rf"do not fit into {bits} bits.*--significant-bits"):
        read_rgb(path, some)


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_out_of_range_are_refused(tmp_path, value):
    path = save(tmp_path / "i.tif", np.array([[5, value]], dtype=np.int32))
    with pytest.raises(ImageError, match="do not fit into 16 bits; save the file"):
        read_rgb(path, DEFAULT)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_is_read_to_8_bits(tmp_path, colour_type, channels):
    array = (np.arange(6 * 10 * channels) * 360).astype(np.uint16).reshape(6, 10, channels)
    if channels != 3:
        array[..., -1] = 65535
    path = deep_png(tmp_path / "x.png", array, colour_type)
    image = read_rgb(path, DEFAULT)
    expected = array[..., :3] if channels > 2 else grey(array[..., 0])
    assert image.dtype == np.uint8
    assert np.abs(image / 255 - expected / 65535).max() <= 1 / 255
    with pytest.raises(ImageError, match="16-bit colour with 12 significant bits"):
        read_rgb(path, DataSettings(significant_bits=12))


def test_float_files(tmp_path):
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
    image = read_rgb(save(tmp_path / "f.tif", values), DEFAULT)
    assert image.dtype == np.float32
    assert np.array_equal(image, grey(values))
    slightly = save(tmp_path / "g.tif", np.array([[-1e-5, 1 + 1e-5]], dtype=np.float32))
    assert read_rgb(slightly, DEFAULT)[0, :, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("value", [255.0, -0.5, np.nan, np.inf])
def test_floats_out_of_range_are_refused(tmp_path, value):
    path = save(tmp_path / "f.tif", np.array([[0.5, value]], dtype=np.float32))
    with pytest.raises(ImageError, match="values from 0 to 1"):
        read_rgb(path, DEFAULT)


ORIENTED = [
    pytest.param(name, options, pixels, id=f"{name}-{options.get('compression')}-{pixels.dtype}")
    for name, options, kinds in [
        ("x.png", {}, [BYTES, DEEP, COLOUR]),
        ("x.tif", {}, [BYTES, DEEP, COLOUR]),
        ("x.tif", {"compression": "tiff_lzw"}, [BYTES, DEEP, COLOUR]),
        ("x.webp", {"lossless": True}, [COLOUR]),
        ("x.jpg", {"quality": 100, "subsampling": 0}, [BYTES, COLOUR]),
    ]
    for pixels in kinds
]


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("name", "options", "pixels"), ORIENTED)
def test_exif_orientation(tmp_path, orientation, name, options, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, pixels, exif=exif, **options)
    expected = UPRIGHT[orientation](pixels)
    expected = expected if expected.ndim == 3 else grey(expected)
    unit = as_unit(read_rgb(path, DEFAULT))
    assert image_size(path) == unit.shape[:2]
    scale = 65535 if pixels is DEEP else 255
    assert np.abs(unit - expected / scale).max() <= (8 / 255 if name.endswith("jpg") else 1e-6)
    # A mask is turned by the same rule.
    assert read_mask(path).shape == unit.shape[:2]
    if not name.endswith(("jpg", "webp")):
        assert np.array_equal(read_mask(path), expected.any(axis=2))


def test_the_first_page_counts(tmp_path):
    first, second = Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())
    path = save(tmp_path / "x.tif", first, save_all=True, append_images=[second])
    assert np.array_equal(read_rgb(path, DEFAULT), COLOUR)


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "x.gif").write_bytes(b"GIF89a" + bytes(100))
    for name, reason in [
        ("missing.png", "does not exist"),
        ("empty.png", "is empty"),
        ("text.png", "is not a PNG"),
        ("folder.png", "is not a file"),
        ("x.gif", "is not a PNG"),
    ]:
        with pytest.raises(ImageError, match=reason) as caught:
            read_rgb(tmp_path / name, DEFAULT)
        assert caught.value.path == tmp_path / name
        assert reason in caught.value.reason
        assert str(tmp_path / name) in str(caught.value)
        assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp", "x.tif", "x.webp"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files_are_named(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / name, noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match="damaged or incomplete"):
        read_rgb(path, DEFAULT)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(["png", "jpg", "bmp", "tif", "webp"]), st.data())
def test_any_damage_is_an_image_error_or_an_image(tmp_path, suffix, data):
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    path = save(tmp_path / f"x.{suffix}", noise)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read_rgb(path, DataSettings(max_megapixels=0.01))
        except ImageError:
            return
    assert image.ndim == 3


def test_the_size_limit_is_checked_before_decoding(tmp_path):
    path = save(tmp_path / "x.png", np.zeros((100, 101), dtype=np.uint8))
    assert read_rgb(path, DataSettings(max_megapixels=0.0101)).shape == (100, 101, 3)
    # Without its pixels the file is still refused for its size.
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageError, match=r"101x100 pixels .* 0.01 megapixels"):
        read_rgb(path, DataSettings(max_megapixels=0.01))


def test_the_setting_stands_in_for_the_limit_of_pillow(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png", np.zeros((100, 100), dtype=np.uint8))
    tiff = save(tmp_path / "x.tif", np.zeros((100, 100), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rgb(path, DEFAULT).shape == (100, 100, 3)
    assert Image.MAX_IMAGE_PIXELS == 6000
    assert image_size(tiff) == (100, 100)


def test_damage_inside_the_block_is_named(tmp_path):
    path = save(tmp_path / "x.png", BYTES)
    with pytest.raises(ImageError, match="damaged or incomplete"), open_image(path):
        raise OSError("broken data stream")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipes_are_refused_without_waiting(tmp_path):
    path = tmp_path / "x.png"
    os.mkfifo(path)
    errors = []

    def read():
        try:
            read_rgb(path, DEFAULT)
        except ImageError as error:
            errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert [error.reason for error in errors] == ["is not a file"]


@pytest.mark.parametrize("geometry", ["squash", "pad"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (50, 33)])
def test_network_input_of_files(tmp_path, geometry, height, width):
    config = DataSettings(height=height, width=width, geometry=geometry)
    rng = np.random.default_rng(3)
    shallow = rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)
    for name, pixels in [("a.png", shallow), ("b.tif", rng.random((40, 70), dtype=np.float32))]:
        path = save(tmp_path / name, pixels)
        array, placement = network_input(path, config)
        assert array.shape == (3, height, width)
        assert array.dtype == pixels.dtype
        assert array.flags.c_contiguous
        assert placement == place((40, 70), config)
        again, _ = network_input(read_rgb(path, config), config)
        assert np.array_equal(array, again)


def test_deep_input_stays_within_0_and_1(tmp_path):
    noise = np.random.default_rng(4).choice(np.array([0, 65535], dtype=np.uint16), (97, 131))
    array, _ = network_input(save(tmp_path / "x.png", noise), DataSettings(height=64, width=64))
    assert array.min() >= 0.0
    assert array.max() <= 1.0
    assert np.array_equal(array[0], array[2])


def test_network_input_of_arrays():
    config = DataSettings(height=32, width=32)
    white = np.ones((8, 8, 3))
    array, _ = network_input(white, config)
    assert array.dtype == np.float32
    assert np.array_equal(array, np.ones((3, 32, 32)))
    for bad in [
        np.zeros((8,), dtype=np.uint8),
        np.zeros((8, 8, 2), dtype=np.uint8),
        np.zeros((3, 8, 8), dtype=np.uint8),
        np.zeros((0, 8, 3), dtype=np.uint8),
        np.zeros((8, 8, 3), dtype=np.int64),
        white * 255,
        white * np.nan,
    ]:
        with pytest.raises(ValueError, match=r"an image|float image"):
            network_input(bad, config)


@pytest.mark.parametrize(
    ("dtype", "mode"), [(np.uint8, "L"), (np.uint8, "RGBA"), (np.uint16, "I;16"), (np.float32, "F")]
)
def test_an_array_is_what_a_file_of_it_is(tmp_path, dtype, mode):
    rng = np.random.default_rng(0)
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    shape = (9, 7, 4) if mode == "RGBA" else (9, 7)
    values = (rng.random(shape) * full).astype(dtype)
    path = tmp_path / ("a.tif" if mode == "F" else "a.png")
    Image.fromarray(values).save(path)
    config = DataSettings(height=32, width=32)
    expected = read_rgb(path, config)
    found = read_rgb(values, config)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if mode != "RGBA":
        np.testing.assert_array_equal(read_rgb(values[..., None], config), expected)


def test_an_array_of_deep_colours_and_floats_with_transparency():
    deep = np.array([[[0, 1023, 512]]], np.uint16)
    ten = DataSettings(significant_bits=10)
    np.testing.assert_allclose(read_rgb(deep, ten), [[[0, 1, 512 / 1023]]], rtol=1e-6)
    with pytest.raises(ValueError, match="1023"):
        read_rgb(deep * 2, ten)
    half = np.array([[[1.0, 0.5, 0.25, 0.5]]])
    np.testing.assert_allclose(read_rgb(half, DataSettings()), [[[0.5, 0.25, 0.125]]])


def test_as_unit():
    assert as_unit(np.array([0, 51, 255], dtype=np.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    floats = np.array([0.25], dtype=np.float32)
    assert as_unit(floats) is floats
    with pytest.raises(TypeError, match="int64"):
        as_unit(np.array([1]))


@pytest.mark.parametrize("form", ["0/255", "0/1", "bits", "deep", "colour", "alpha", "palette"])
def test_masks_are_everything_but_black(tmp_path, form):
    truth = BYTES % 5 == 0
    low = truth.astype(np.uint8)
    palette = Image.fromarray(low)
    if form == "palette":
        palette = Image.new("P", (10, 6))
        palette.putdata(low.ravel().tolist())
        palette.putpalette([0, 0, 0, 128, 0, 0])
    image = {
        "0/255": low * 255,
        "0/1": low,
        "bits": truth,
        "deep": truth.astype(np.uint16),
        "colour": low[..., np.newaxis] * np.array([0, 0, 1], dtype=np.uint8),
        "alpha": np.dstack([np.full((6, 10, 3), 255, dtype=np.uint8), low * 255]),
        "palette": palette,
    }[form]
    mask = read_mask(save(tmp_path / "m.png", image))
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, truth)


def test_lossy_masks_are_cut_at_half_brightness(tmp_path):
    truth = np.zeros((64, 64), dtype=bool)
    truth[20:41, 10:51] = True
    mask = read_mask(save(tmp_path / "m.jpg", truth.astype(np.uint8) * 255, quality=75))
    assert np.array_equal(mask, truth)


def test_network_mask_and_its_size(tmp_path):
    config = DataSettings(height=32, width=64, geometry="pad")
    truth = np.zeros((64, 64), dtype=np.uint8)
    truth[:32] = 255
    path = save(tmp_path / "m.png", truth)
    expected = np.zeros((32, 64), dtype=bool)
    expected[:16, 16:48] = True
    assert np.array_equal(network_mask(path, place((64, 64), config)), expected)
    with pytest.raises(ImageError, match="the mask is 64x64 pixels, its image 60x64"):
        network_mask(path, place((64, 60), config))


def test_network_roi(tmp_path):
    config = DataSettings(height=32, width=64, geometry="pad")
    placement = place((100, 100), config)
    everywhere = np.zeros((32, 64), dtype=bool)
    everywhere[:, 16:48] = True
    assert np.array_equal(network_roi(None, placement), everywhere)
    left = np.zeros((50, 50), dtype=np.uint8)
    left[:, :25] = 255
    region = network_roi(save(tmp_path / "roi.png", left), placement)
    assert np.array_equal(region, everywhere & (np.arange(64) < 32))
    with pytest.raises(ImageError, match="black all over"):
        network_roi(save(tmp_path / "black.png", left * 0), placement)


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "bmp", "webp"])
def test_a_file_in_memory_is_read_like_one_on_disk(tmp_path, suffix):
    path = save(tmp_path / f"1.{suffix}", COLOUR)
    absent = tmp_path / "absent.png"
    found = read_rgb(absent, DEFAULT, content=path.read_bytes())
    np.testing.assert_array_equal(found, read_rgb(path, DEFAULT))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image_name_no_file_of_this_machine(tmp_path, content):
    other = save(tmp_path / "1.png", COLOUR)
    with pytest.raises(ImageError) as error:
        read_rgb(other, DEFAULT, content=content)
    assert str(tmp_path) not in error.value.reason


def test_too_many_pixels_are_told_from_other_faults(tmp_path):
    path = save(tmp_path / "1.png", COLOUR)
    small = DEFAULT.model_copy(update={"max_megapixels": 1e-6})
    with pytest.raises(TooManyPixelsError):
        read_rgb(path, small, content=path.read_bytes())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "palette", "webp", "jpeg-like webp"])
def test_masks_drawn_in_black_on_transparent(tmp_path, mode):
    truth = np.zeros((64, 64), dtype=bool)
    truth[20:41, 10:51] = True
    alpha = truth.astype(np.uint8) * 255
    image = Image.fromarray(np.dstack([np.zeros((64, 64, 3), np.uint8), alpha]), "RGBA")
    path = tmp_path / ("m.webp" if "webp" in mode else "m.png")
    if mode == "palette":
        image = Image.fromarray(truth.astype(np.uint8), "P")
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(path, transparency=0)
    else:
        image = image.convert("LA") if mode == "LA" else image
        image.save(path, **({"lossless": mode == "webp"} if "webp" in mode else {}))
    assert np.array_equal(read_mask(path), truth)


@pytest.mark.parametrize("alpha", [None, 0, 255])
def test_masks_that_mark_nothing_are_refused(tmp_path, alpha):
    pixels = np.zeros((9, 9, 3 if alpha is None else 4), np.uint8)
    pixels[..., 3:] = alpha or 0
    with pytest.raises(ImageError, match="black all over, so it marks nothing"):
        read_mask(save(tmp_path / "m.png", pixels))
