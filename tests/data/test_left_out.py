import logging

import pytest
from PIL import Image

from omnial.data.image_file import SUFFIXES
from omnial.data.layouts import discover
from omnial.data.listing import is_picture
from omnial.errors import UserError

READ = {"PNG", "JPEG", "BMP", "TIFF", "WEBP"}
DOCUMENTS = {  # and maps, films, and kinds that no camera has written for decades
    *("BLP", "BUFR", "CUR", "DCX", "EPS", "FLI", "FTEX", "GBR", "GRIB", "HDF5", "IM", "IPTC"),
    *("MPEG", "MSP", "PCD", "PIXAR", "SUN", "WMF", "XBM", "XPM", "TGA"),
}


def test_every_ending_that_pillow_knows_is_read_or_counted(tmp_path):
    for ending, kind in Image.registered_extensions().items():
        if kind in READ:
            assert ending in SUFFIXES
        elif kind in Image.OPEN and kind not in DOCUMENTS:
            assert ending not in SUFFIXES
            assert is_picture(tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", ["jfif", "jpe", "JFIF", "apng"])
def test_other_endings_of_what_is_read(write, ending):
    root = write("nut/a.png", "nut/b.png")
    kind = "PNG" if ending == "apng" else "JPEG"
    Image.new("RGB", (9, 9)).save(root / f"nut/c.{ending}", kind)
    assert len(discover([root], need="train").classes[0].train) == 3


@pytest.fixture
def bolt(write):
    return write(
        "bolt/train/good/0.png", "bolt/train/good/1.png", "bolt/test/good/0.png",
        "bolt/test/bent/0.png", "bolt/ground_truth/bent/0_mask.png", "bolt/roi.png",
    )  # fmt: skip


def test_nothing_is_told_where_nothing_is_left_out(bolt, caplog):
    (bolt / "bolt/readme.txt").write_text("x")
    (bolt / "bolt/.thumbs").mkdir()
    (bolt / "bolt/.thumbs/0.png").touch()
    discover([bolt], need="train")
    discover([bolt / "bolt"], need="test")
    assert caplog.text == ""


def test_what_is_left_out_is_counted_by_folder_and_reason(bolt, write, caplog):
    write("bolt/train/good/day2/0.png", "bolt/train/good/day2/1.png", "bolt/test/bent/more/5.png",
          "bolt/val/0.png", "extra/deep/down/0.png", "stray.png")  # fmt: skip
    (bolt / "bolt/train/good/2.jp2").touch()
    (bolt / "bolt/train/good/3.JP2").touch()
    (bolt / "bolt/test/bent/4.heic").touch()
    (bolt / "bolt/train/good/again").symlink_to(".")
    catalogue = discover([bolt], need="train")
    assert len(catalogue.classes[0].train) == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    place = "images are not looked for there"
    told = set(record.getMessage().splitlines()[1:])
    assert told == {
        f"  2 files in {bolt}/bolt/train/good/day2: {place}",
        f"  1 file in {bolt}/bolt/test/bent/more: {place}",
        f"  1 file in {bolt}/bolt/val: {place}",
        f"  1 file in {bolt}/extra/deep/down: {place}",
        f"  1 file in {bolt}: {place}",
        f"  2 files in {bolt}/bolt/train/good: .jp2 is not read; save them as PNG or TIFF",
        f"  1 file in {bolt}/bolt/test/bent: .heic is not read; save them as PNG or TIFF",
        f"  link {bolt}/bolt/train/good/again: not followed; name the folder to have it read",
    }


@pytest.mark.parametrize("file", ["bolt/test/dent/day1/0.png", "bolt/test/dent/0.jp2",
                                  "bolt/test/dent/a/b/0.tif"])  # fmt: skip
def test_a_kind_without_an_image_in_its_place_is_refused(bolt, file):
    (bolt / file).parent.mkdir(parents=True)
    (bolt / file).touch()
    with pytest.raises(UserError, match=r"test/dent has no image directly in it") as caught:
        discover([bolt], need="train")
    assert str(bolt / file) in str(caught.value)


@pytest.mark.parametrize("place", ["train/good", "good", "Train/OK"])
def test_training_images_in_sub_folders_alone_are_refused(write, place):
    root = write(f"nut/{place}/day1/0.png", f"nut/{place}/day2/0.png")
    with pytest.raises(UserError, match=r"no image directly in it"):
        discover([root], need="train")


def test_linked_classes_and_kinds_are_no_left_overs(write, caplog):
    root = write("store/train/good/0.png", "kinds/bent/0.png")
    (root / "data").mkdir()
    (root / "data/nut").symlink_to(root / "store")
    (root / "store/test").symlink_to(root / "kinds")
    (product,) = discover([root / "data"], need="test").classes
    assert (len(product.train), len(product.test)) == (1, 1)
    assert caplog.text == ""


def test_no_class_says_what_was_seen(write, caplog):
    root = write("parts/day1/nut/0.png")
    with pytest.raises(UserError, match="no product classes"):
        discover([root], need="train")
    assert f"1 file in {root}/parts/day1/nut" in caplog.text
