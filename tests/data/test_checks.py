import os

import numpy as np
import pytest
from PIL import Image

from omnial.config.settings import DataSettings
from omnial.data.cache import open_cache
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.errors import UserError

FAIL = DataSettings()
SKIP = DataSettings(on_bad_file="skip")
SMALL = DataSettings(height=40, width=48)

FILES = (
    "nut/train/good/a.png",
    "nut/train/good/b.jpg",
    "nut/train/good/c.bmp",
    "nut/test/good/a.png",
    "nut/test/bent/a.png",
    "nut/test/bent/b.png",
    "nut/ground_truth/bent/a_mask.png",
    "nut/ground_truth/bent/b_mask.png",
)


def shorten(path, size=(64, 64)):
    """A file that ends in the middle of its pixels."""
    noise = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-700])


def test_good_files_pass_unchanged(write):
    catalogue = discover([write(*FILES)], need="train")
    for settings in (FAIL, SKIP):
        assert check_files(catalogue, settings) == catalogue


def test_progress_counts_the_images(write):
    seen = []
    catalogue = discover([write(*FILES)], need="train")
    check_files(catalogue, FAIL, progress=lambda _, *counts: seen.append(counts))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_every_kind_of_bad_file_is_named_at_once(write):
    root = write(*FILES)
    write("nut/ground_truth/bent/b_mask.png", size=(8, 13))
    write("nut/test/good/a.png", size=(50, 50))
    (root / "nut/train/good/a.png").write_bytes(b"")
    (root / "nut/train/good/b.jpg").write_text("text")
    shorten(root / "nut/train/good/c.bmp", (40, 40))
    catalogue = discover([root], need="train")
    with pytest.raises(UserError) as caught:
        check_files(catalogue, DataSettings(max_megapixels=0.002))
    message = str(caught.value)
    assert "5 of 6 images cannot be used" in message
    assert "--skip-bad-files" in message
    assert "data.on_bad_file=skip" in message
    for name, reason in [
        ("train/good/a.png", "the file is empty"),
        ("train/good/b.jpg", "is not a PNG"),
        ("train/good/c.bmp", "the file is damaged or incomplete"),
        ("test/good/a.png", "50x50 pixels are more than"),
        ("ground_truth/bent/b_mask.png", "the mask is 13x8 pixels, its image 12x8"),
    ]:
        assert f"{root / 'nut' / name}: {reason}" in message


def test_a_long_list_is_cut(write):
    root = write("nut/ok.png")
    for i in range(25):
        (root / "nut" / f"{i:02}.png").touch()
    with pytest.raises(UserError) as caught:
        check_files(discover([root], need="train"), FAIL)
    message = str(caught.value)
    assert "25 of 26" in message
    assert "19.png" in message
    assert "20.png" not in message
    assert message.endswith("... and 5 more")


def test_skip_leaves_bad_files_out_and_says_so(write):
    root = write(*FILES)
    (root / "nut/train/good/b.jpg").unlink()
    (root / "nut/train/good/b.jpg").write_bytes(b"")
    shorten(root / "nut/ground_truth/bent/a_mask.png")
    write("nut/test/bent/a.png", size=(64, 64))
    catalogue = check_files(discover([root], need="train"), SKIP)
    (product,) = catalogue.classes
    assert [r.path.name for r in product.train] == ["a.png", "c.bmp"]
    assert [(r.kind, r.path.name) for r in product.test] == [("bent", "b.png"), ("good", "a.png")]
    assert [(bad.path.name, bad.reason.split(" (")[0]) for bad in catalogue.bad_files] == [
        ("b.jpg", "the file is empty"),
        ("a_mask.png", "the file is damaged or incomplete"),
    ]
    # What is left passes, and what was found before is kept.
    assert check_files(catalogue, SKIP) == catalogue


def test_truncated_files_are_found(write):
    root = write(*FILES)
    shorten(root / "nut/train/good/a.png")
    catalogue = discover([root], need="train")
    with pytest.raises(UserError, match=r"a\.png: the file is damaged"):
        check_files(catalogue, FAIL)


def test_a_rotated_mask_fits_a_rotated_image(write):
    root = write(*FILES)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = Image.fromarray(np.ones((12, 8), dtype=np.uint8))
    pixels.save(root / "nut/test/bent/a.png", exif=exif)
    catalogue = discover([root], need="train")
    assert check_files(catalogue, FAIL) == catalogue
    pixels.save(root / "nut/test/bent/a.png")
    with pytest.raises(UserError, match="the mask is 12x8 pixels, its image 8x12"):
        check_files(catalogue, FAIL)


@pytest.mark.parametrize(("split", "name"), [("train/good", "training"), ("test", "test")])
def test_skipping_must_leave_something(write, split, name):
    root = write(*FILES)
    for path in (root / "nut" / split).rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=f"none of the {name} images of nut can be used"):
        check_files(discover([root], need="train"), SKIP)


@pytest.mark.parametrize("settings", [FAIL, SKIP])
def test_a_bad_region_of_interest_is_never_skipped(write, settings):
    root = write(*FILES, "nut/roi.png")
    catalogue = discover([root], need="train")
    assert check_files(catalogue, settings) == catalogue
    write("nut/roi.png", value=0)
    with pytest.raises(UserError, match=r"roi\.png: it is black all over"):
        check_files(catalogue, settings)
    (root / "nut/roi.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"roi\.png: the file is empty"):
        check_files(catalogue, settings)


def draw(path, seed):
    """A good file, of other content for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def part_of_everything(root):
    """A class with training images, test images and a mask."""
    for number in range(4):
        draw(root / f"nut/train/good/{number:03}.bmp", number)
    draw(root / "nut/test/good/good.bmp", 10)
    draw(root / "nut/test/bent/bent.bmp", 11)
    mask = root / "nut/ground_truth/bent/bent_mask.png"
    mask.parent.mkdir(parents=True)
    Image.new("L", (70, 50), 255).save(mask)
    return root


def test_check_and_first_decoding_are_one_pass(cache_folder, tmp_path, decoded):
    catalogue = discover([part_of_everything(tmp_path / "data")], need="train")
    train = [record.path for record in catalogue.classes[0].train]
    for _ in range(2):
        cache = open_cache(SMALL)
        assert check_files(catalogue, SMALL, cache=cache) == catalogue
        cache.network_inputs(train)
        # Four training images, two test images and a mask, in the second run as in the first.
        assert len(decoded) == 7
        assert set(decoded.values()) == {1}


def test_without_the_cache_the_check_decodes_by_itself(cache_folder, tmp_path, decoded):
    off = SMALL.model_copy(update={"cache_gigabytes": 0.0})
    catalogue = discover([part_of_everything(tmp_path / "data")], need="train")
    cache = open_cache(off)
    assert check_files(catalogue, off, cache=cache) == catalogue
    assert len(decoded) == 7
    cache.network_inputs([record.path for record in catalogue.classes[0].train])
    assert sorted(decoded.values()) == [1, 1, 1, 2, 2, 2, 2]


def test_the_check_reports_the_same_bad_files(cache_folder, tmp_path, decoded):
    root = part_of_everything(tmp_path / "data")
    catalogue = discover([root], need="train")
    assert check_files(catalogue, SMALL, cache=open_cache(SMALL)) == catalogue
    Image.new("L", (70, 51), 255).save(root / "nut/ground_truth/bent/bent_mask.png")
    os.truncate(root / "nut/train/good/001.bmp", 300)
    os.truncate(root / "nut/test/good/good.bmp", 300)
    with pytest.raises(UserError) as expected:
        check_files(catalogue, SMALL)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            check_files(catalogue, SMALL, cache=open_cache(SMALL))
        assert str(caught.value) == str(expected.value)
    # A bound that is lowered afterwards is no less a bound.
    tight = SMALL.model_copy(update={"max_megapixels": 0.001})
    with pytest.raises(UserError, match="6 of 6 images"):
        check_files(catalogue, tight, cache=open_cache(tight))


@pytest.mark.parametrize("cached", [False, True])
def test_a_mask_that_is_black_all_over_is_a_bad_file(write, cache_folder, cached):
    root = write(*FILES)
    write("nut/ground_truth/bent/a_mask.png", value=0)
    catalogue = discover([root], need="test")
    cache = open_cache(FAIL) if cached else None
    with pytest.raises(UserError, match=r"a_mask\.png: it is black all over, so it marks nothing"):
        check_files(catalogue, FAIL, cache=cache)
    kept = check_files(catalogue, SKIP, cache=cache)
    assert [bad.path.name for bad in kept.bad_files] == ["a_mask.png"]
    assert [r.path.name for r in kept.classes[0].test if r.anomalous] == ["b.png"]
