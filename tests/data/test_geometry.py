import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.transform import resize as reference_resize

from omnial.config.settings import DataSettings
from omnial.data.geometry import (
    LONGEST,
    SQUASHED,
    area_average,
    mask_to_network,
    place,
    region_on,
    resize,
    to_network,
    to_source,
    whole_region,
)

sides = st.integers(1, 300)
network_sides = st.integers(32, 130)
geometries = st.sampled_from(["auto", "window", "squash", "pad"])


@given(sides, sides, network_sides, network_sides, st.sampled_from(["squash", "pad"]))
@example(1, 300, 32, 130, "pad")
def test_content_box_lies_inside_and_keeps_the_aspect_ratio(h, w, height, width, geometry):
    box = place((h, w), DataSettings(height=height, width=width, geometry=geometry))
    below = height - box.top - box.inner_height
    right = width - box.left - box.inner_width
    assert min(box.top, box.left, below, right) >= 0
    assert below - box.top in (0, 1)
    assert right - box.left in (0, 1)
    assert box.inner_height == height or box.inner_width == width
    if geometry == "squash":
        assert (box.inner_height, box.inner_width) == (height, width)
    else:
        scale = min(height / h, width / w)
        assert abs(box.inner_height - h * scale) <= 0.5 or box.inner_height == 1
        assert abs(box.inner_width - w * scale) <= 0.5 or box.inner_width == 1


@given(sides, sides, network_sides, network_sides)
@example(1, 300, 32, 130)
def test_a_window_frame_covers_the_network_at_the_images_own_proportions(h, w, height, width):
    settings = DataSettings(height=height, width=width, geometry="window")
    box = place((h, w), settings)
    assert (box.inner_height, box.inner_width) == (box.height, box.width)
    assert box.height == height or box.width == width
    assert height <= box.height <= LONGEST * height
    assert width <= box.width <= LONGEST * width
    if box.height < LONGEST * height and box.width < LONGEST * width:
        scale = max(height / h, width / w)
        assert abs(box.height - h * scale) <= 0.5
        assert abs(box.width - w * scale) <= 0.5


@given(sides, sides, network_sides, network_sides)
def test_auto_is_window_beyond_the_limit_and_squash_up_to_it(h, w, height, width):
    def placed(geometry):
        return place((h, w), DataSettings(height=height, width=width, geometry=geometry))

    distortion = (h / w) / (height / width)
    if max(distortion, 1 / distortion) > SQUASHED + 1e-9:
        assert placed("auto") == placed("window")
    elif max(distortion, 1 / distortion) < SQUASHED - 1e-9:
        assert placed("auto") == placed("squash")


def test_frames_of_known_images():
    settings = DataSettings()
    frames = {
        (1000, 2400): (256, 614),  # 2.4:1
        (300, 103): (746, 256),
        (400, 500): (256, 256),  # just 1.25:1
        (400, 501): (256, 321),
        (7, 7): (256, 256),
        (10, 4000): (256, 2048),
    }
    for size, frame in frames.items():
        box = place(size, settings)
        assert (box.height, box.width) == frame


def test_a_region_of_the_networks_size_lies_on_every_frame():
    settings = DataSettings(height=32, width=32)
    region = np.zeros((32, 32), dtype=bool)
    region[:, :8] = True
    wide = region_on(region, place((50, 200), settings))
    assert wide.shape == (32, 128)
    assert np.array_equal(wide, np.arange(128)[np.newaxis] < 32 + np.zeros((32, 1)))
    assert np.array_equal(whole_region(wide, settings), region)
    padded = settings.model_copy(update={"geometry": "pad"})
    box = place((50, 200), padded)
    assert region_on(region, box) is region
    assert np.array_equal(whole_region(region, padded), region)


def test_pad_of_a_wide_image_in_a_wide_network():
    box = place((100, 400), DataSettings(height=256, width=320, geometry="pad"))
    assert (box.inner_height, box.inner_width, box.top, box.left) == (80, 320, 88, 0)
    assert box.box == (slice(88, 168), slice(0, 320))


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_empty_images_are_refused(size):
    with pytest.raises(ValueError, match="at least one pixel"):
        place(size, DataSettings())


@settings(max_examples=40, deadline=None)
@given(sides, sides, network_sides, network_sides, geometries)
def test_a_ramp_survives_the_way_there_and_back(h, w, height, width, geometry):
    # A straight ramp is what bilinear resizing reproduces, up to the rim, where Pillow has no
    # pixels to look at, and up to what a coarser grid resolves.
    box = place((h, w), DataSettings(height=height, width=width, geometry=geometry))
    y, x = (np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w
    ramp = (0.5 * y[:, np.newaxis] + 0.5 * x).astype(np.float32)
    placed = to_network(np.repeat(ramp[..., np.newaxis], 3, axis=2), box)
    back = to_source(np.ascontiguousarray(placed[..., 1]), box)
    assert back.shape == (h, w)
    assert back.dtype == np.float32
    cells = 0.5 / min(h, box.inner_height) + 0.5 / min(w, box.inner_width)
    assert np.abs(back - ramp).max() <= cells + 1e-5


def test_equal_size_changes_nothing():
    rng = np.random.default_rng(0)
    box = place((48, 64), DataSettings(height=48, width=64))
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert np.array_equal(to_network(image, box), image)
    array = rng.random((48, 64), dtype=np.float32)
    back = to_source(array, box)
    assert np.array_equal(back, array)
    assert not np.shares_memory(back, array)


def test_maps_of_another_size_are_refused():
    box = place((10, 10), DataSettings(height=48, width=64, geometry="squash"))
    with pytest.raises(ValueError, match="48x64"):
        to_source(np.zeros((64, 48), dtype=np.float32), box)


def test_padding_repeats_the_rim_of_the_content():
    image = np.arange(64 * 32 * 3, dtype=np.uint64).reshape(64, 32, 3).astype(np.uint8)
    box = place((64, 32), DataSettings(height=64, width=64, geometry="pad"))
    placed = to_network(image, box)
    assert np.array_equal(placed[:, 16:48], image)
    assert np.array_equal(placed[:, :16], np.repeat(image[:, :1], 16, axis=1))
    assert np.array_equal(placed[:, 48:], np.repeat(image[:, -1:], 16, axis=1))


def test_enlarging_is_bilinear_with_aligned_edges():
    rng = np.random.default_rng(1)
    array = rng.random((7, 9), dtype=np.float32)
    expected = reference_resize(array, (23, 40), order=1, mode="edge", anti_aliasing=False)
    assert np.allclose(resize(array, (23, 40)), expected, atol=1e-5)


def test_shrinking_does_not_alias():
    # Stripes of one pixel average to grey; picking pixels would give black or white.
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    inner = resize(stripes, (37, 37))[2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 128).max() < 15


@settings(max_examples=30, deadline=None)
@given(sides, sides, network_sides, network_sides, st.integers(0, 2**32 - 1))
def test_8_bit_and_float_images_are_resized_alike(h, w, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    coarse = resize(image, (height, width))
    fine = resize(image.astype(np.float32) / np.float32(255), (height, width))
    assert coarse.dtype == np.uint8
    assert fine.dtype == np.float32
    assert np.abs(coarse / 255.0 - fine).max() <= 1.5 / 255


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.data())
def test_area_average_is_exact(h, w, height, width, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    array = np.random.default_rng(seed).random((h, w))
    # Enlarging each source pixel by the target's size makes every cell a whole block of pixels.
    fine = np.repeat(np.repeat(array, height, axis=0), width, axis=1)
    expected = fine.reshape(height, h, width, w).mean(axis=(1, 3))
    assert np.allclose(area_average(array, (height, width)), expected, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(sides, sides, network_sides, network_sides, geometries, st.booleans(), st.data())
def test_thin_defects_never_vanish(h, w, height, width, geometry, line, data):
    box = place((h, w), DataSettings(height=height, width=width, geometry=geometry))
    mask = np.zeros((h, w), dtype=bool)
    y, x = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    mask[y, :] |= line
    mask[y, x] = True
    placed = mask_to_network(mask, box)
    assert placed.any()
    # What is marked lies where the defect is, and not in the padding.
    rows = np.flatnonzero(placed.any(axis=1)) - box.top
    assert np.all((rows + 1) * h / box.inner_height > y - 1e-6)
    assert np.all(rows * h / box.inner_height < y + 1 + 1e-6)
    outside = np.ones_like(placed)
    outside[box.box] = False
    assert not (placed & outside).any()


def test_half_a_pixel_is_defect_and_less_is_not():
    mask = np.zeros((64, 128), dtype=bool)
    mask[:, 0] = True  # half of the first network column
    mask[10, 64:66] = True  # half of one network pixel
    mask[20, 100] = True  # a quarter of one
    box = place((64, 128), DataSettings(height=32, width=64))
    expected = np.zeros((32, 64), dtype=bool)
    expected[:, 0] = expected[5, 32] = True
    assert np.array_equal(mask_to_network(mask, box), expected)


def test_where_nothing_is_left_the_largest_shares_stay():
    mask = np.zeros((320, 320), dtype=bool)
    mask[3, 3] = mask[100, 100] = mask[100, 101] = mask[205, 205] = mask[205, 206] = True
    box = place((320, 320), DataSettings(height=32, width=32))
    placed = mask_to_network(mask, box)
    assert np.argwhere(placed).tolist() == [[10, 10], [20, 20]]


def test_half_covered_pixels_count_at_sizes_that_do_not_divide():
    # 96 rows onto 36: an edge at 48 rows falls on row 18 exactly, at 44 on 16.5.
    mask = np.zeros((96, 96), dtype=bool)
    mask[:44] = True
    box = place((96, 96), DataSettings(height=36, width=36))
    assert mask_to_network(mask, box).sum(axis=0).tolist() == [17] * 36


def test_empty_and_full_masks_stay_so():
    box = place((75, 301), DataSettings(height=64, width=96))
    assert not mask_to_network(np.zeros((75, 301), dtype=bool), box).any()
    assert mask_to_network(np.ones((75, 301), dtype=bool), box).all()
