import os
from pathlib import Path

import pytest

from omnial.data.layouts import discover
from omnial.data.records import ImageRecord
from omnial.errors import UserError

MVTEC = (
    "bolt/train/good/000.png",
    "bolt/train/good/001.png",
    "bolt/test/good/000.png",
    "bolt/test/scratch/000.png",
    "bolt/test/scratch/001.png",
    "bolt/ground_truth/scratch/000_mask.png",
    "bolt/ground_truth/scratch/001_mask.png",
)


def only(catalogue):
    (product,) = catalogue.classes
    return product


def names(records, base):
    return [r.path.relative_to(base).as_posix() for r in records]


def test_mvtec_ad(write):
    root = write(*MVTEC)
    product = only(discover([root], need="train"))
    bolt = root / "bolt"
    assert (product.name, product.root, product.roi) == ("bolt", bolt, None)
    assert product.train == tuple(
        ImageRecord(bolt / "train" / "good" / f"00{i}.png", "bolt", "train", "good")
        for i in range(2)
    )
    masks = bolt / "ground_truth" / "scratch"
    assert product.test == (
        ImageRecord(bolt / "test/good/000.png", "bolt", "test", "good"),
        ImageRecord(
            bolt / "test/scratch/000.png", "bolt", "test", "scratch", masks / "000_mask.png"
        ),
        ImageRecord(
            bolt / "test/scratch/001.png", "bolt", "test", "scratch", masks / "001_mask.png"
        ),
    )
    assert [record.anomalous for record in product.test] == [False, True, True]


def test_a_class_folder_reads_as_in_its_root(write, monkeypatch):
    root = write(*MVTEC)
    expected = discover([root], need="any")
    assert discover([root / "bolt"], need="any") == expected
    monkeypatch.chdir(root / "bolt")
    assert discover([Path()], need="any").names == ("bolt",)
    assert discover([Path("train/..")], need="any").names == ("bolt",)


def test_several_roots_are_sorted_by_name(write):
    root = write(
        "x/washer/good/1.png", "x/nut/good/1.png", "y/bolt/1.png", "z/train/1.png", "z/train/0.png"
    )
    catalogue = discover([root / "x", root / "z", root / "y"], need="train")
    assert catalogue.names == ("bolt", "nut", "washer", "z")
    assert names(catalogue.classes[3].train, root) == ["z/train/0.png", "z/train/1.png"]
    assert catalogue == discover([root / "y", root / "z", root / "x"], need="train")


def test_the_same_class_twice_names_both_folders(write):
    root = write("x/nut/good/1.png", "y/nut/good/1.png")
    with pytest.raises(UserError) as caught:
        discover([root / "x", root / "y"], need="any")
    assert str(root / "x" / "nut") in str(caught.value)
    assert str(root / "y" / "nut") in str(caught.value)


@pytest.mark.parametrize(
    "place", ["", "good/", "normal/", "train/", "train/good/", "train/normal/"]
)
def test_places_of_training_images_in_a_plain_folder(write, place):
    root = write(f"nut/{place}b.png", f"nut/{place}a.png", "nut/test/bent/c.png")
    for start in (root, root / "nut"):
        product = only(discover([start], need="train"))
        assert product.name == "nut"
        assert names(product.train, root / "nut") == [f"{place}a.png", f"{place}b.png"]
        assert [record.kind for record in product.test] == ["bent"]


def test_test_images_without_folders_of_kinds(write):
    root = write("nut/a.png", "nut/test/x.png", "nut/test/y.png", "nut/masks/y.png")
    product = only(discover([root], need="test"))
    assert [(r.path.name, r.kind) for r in product.test] == [("y.png", "defect"), ("x.png", "good")]
    assert product.test[0].mask == root / "nut" / "masks" / "y.png"


@pytest.mark.parametrize("extra", [(), ("nut/test/bent/c.png", "nut/masks/x.png")])
def test_test_images_of_unknown_kind(write, extra):
    root = write("nut/good/a.png", "nut/test/x.png", *extra)
    with pytest.raises(UserError, match="unknown which of the images"):
        discover([root], need="any")


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "Bmp", "tif", "TIFF", "webp"])
def test_endings_of_images(write, suffix):
    root = write("nut/good/a.png")
    (root / "nut/good/a.png").rename(root / f"nut/good/a.{suffix}")
    assert len(only(discover([root], need="train")).train) == 1


def test_clutter_is_passed_over(write):
    root = write(
        *MVTEC, "preview.png", ".cache/a.png", "bolt/train/good/._000.png", "__MACOSX/a.png"
    )
    expected = discover([root], need="any")
    for name in (
        "readme.txt",
        "bolt/license.txt",
        "bolt/train/good/Thumbs.db",
        "bolt/test/scratch/notes.txt",
        "bolt/ground_truth/scratch/desktop.ini",
    ):
        (root / name).write_text("x")
    (root / "empty").mkdir()
    (root / "bolt/train/good/folder.png").mkdir()
    assert discover([root], need="any") == expected
    assert len(only(expected).train) == 2


def test_links_are_followed_and_keep_their_names(write):
    root = write("store/anything/000.png", "store/anything/001.png")
    try:
        (root / "linked").mkdir()
        os.symlink(root / "store" / "anything", root / "linked" / "washer")
        os.symlink(root / "missing.png", root / "store" / "anything" / "002.png")
    except OSError:
        pytest.skip("no links here")
    for start in (root / "linked", root / "linked" / "washer"):
        product = only(discover([start], need="train"))
        assert product.name == "washer"
        # The broken link is listed: reading it names it.
        assert [r.path.name for r in product.train] == ["000.png", "001.png", "002.png"]


@pytest.mark.parametrize("name", ["roi.png", "ROI.BMP", "roi.tif"])
@pytest.mark.parametrize("place", ["", "train/good/"])
def test_region_of_interest(write, name, place):
    root = write(f"nut/{place}a.png", f"nut/{name}")
    product = only(discover([root], need="train"))
    assert product.roi == root / "nut" / name
    assert names(product.train, root / "nut") == [f"{place}a.png"]


def test_two_regions_of_interest(write):
    root = write("nut/train/good/a.png", "nut/roi.png", "nut/roi.bmp")
    with pytest.raises(UserError, match=r"several regions(.|\n)*roi\.bmp(.|\n)*roi\.png"):
        discover([root], need="any")


def test_masks_may_have_the_name_of_their_image(write):
    root = write("nut/good/a.png", "nut/test/bent/x.png", "nut/ground_truth/bent/x.bmp")
    (record,) = only(discover([root], need="test")).test
    assert record.mask == root / "nut/ground_truth/bent/x.bmp"


def test_without_a_folder_of_masks_the_label_alone_counts(write):
    root = write(*MVTEC, "bolt/test/stain/7.png")
    stain = only(discover([root], need="test")).test[-1]
    assert (stain.kind, stain.mask, stain.anomalous) == ("stain", None, True)


def test_a_defective_image_without_its_mask(write):
    root = write(*MVTEC)
    (root / "bolt/ground_truth/scratch/001_mask.png").unlink()
    with pytest.raises(UserError, match=r"no mask in .*scratch(.|\n)*test/scratch/001\.png"):
        discover([root], need="any")


@pytest.mark.parametrize(
    "orphan",
    ["ground_truth/scratch/9_mask.png", "ground_truth/dent/9_mask.png", "ground_truth/9.png"],
)
def test_a_mask_without_its_image(write, orphan):
    root = write(*MVTEC, f"bolt/{orphan}")
    with pytest.raises(UserError, match=r"masks(.|\n)*images") as caught:
        discover([root], need="any")
    assert str((root / "bolt" / orphan).parent) in str(caught.value)


def test_two_folders_of_masks(write):
    root = write(*MVTEC, "bolt/masks/scratch/000.png")
    with pytest.raises(UserError, match="two folders for masks"):
        discover([root], need="any")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("nut/train/good/a.png", "nut/train/bent/b.png"), "nut/train/bent"),
        (("nut/good/a.png", "nut/bad/b.png"), "nut/bad"),
        (("nut/a.png", "nut/good/b.png"), "nut/good"),
        (("nut/train/a.png", "nut/train/good/b.png"), "nut/train/good"),
    ],
)
def test_unclear_training_images(write, files, named):
    root = write(*files)
    with pytest.raises(UserError) as caught:
        discover([root], need="any")
    assert str(root / named) in str(caught.value)


def test_needs(write, caplog):
    root = write("nut/good/a.png", "bolt/test/bent/a.png")
    assert discover([root], need="any").names == ("bolt", "nut")
    with pytest.raises(UserError, match=r"no training images:\n  bolt \(.*bolt\)\n"):
        discover([root], need="train")
    assert discover([root], need="test").names == ("bolt",)
    assert [record.getMessage() for record in caplog.records] == [
        "without test images, and so not measured: nut"
    ]
    with pytest.raises(UserError, match=r"no test images:\n  nut \(.*nut\)\n"):
        discover([root / "nut"], need="test")
    (root / "void" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no images:\n  void"):
        discover([root], need="any")


def test_folders_without_classes(write):
    root = write("file.png", "deep/below/nut/a.png")
    for start, message in [
        (root / "missing", "does not exist"),
        (root / "file.png", "not a folder"),
        (root / "deep", "no product classes"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            discover([start], need="any")
        assert str(start) in str(caught.value)
    with pytest.raises(UserError, match="name at least one folder"):
        discover([], need="any")


@pytest.mark.parametrize(
    ("place", "test"),
    [
        ("OK", "test/Good"),
        ("ok", "Test/OK"),
        ("Normal", "test/i.O."),
        ("Train/Good", "Test/Good parts"),
        ("training/ok", "testing/ok"),
        ("TRAIN", "TEST/normal"),
    ],
)
def test_names_that_factories_use(write, place, test):
    kind = f"{test.split('/')[0]}/NG"
    root = write(f"nut/{place}/a.png", f"nut/{test}/b.png", f"nut/{kind}/c.png")
    for start in (root, root / "nut"):
        product = only(discover([start], need="train"))
        assert product.name == "nut"
        assert names(product.train, root / "nut") == [f"{place}/a.png"]
        assert {r.kind: r.path for r in product.test} == {
            "NG": root / f"nut/{kind}/c.png",
            "good": root / f"nut/{test}/b.png",
        }


@pytest.mark.parametrize(
    ("good", "bad"),
    [("OK", "NG"), ("Good", "Bad"), ("Normal", "Anomaly"), ("ok", "nok"), ("i.O.", "n.i.O.")],
)
def test_good_and_bad_side_by_side_are_not_two_products(write, good, bad):
    root = write(f"parts/{good}/a.png", f"parts/{bad}/b.png")
    for roots in ([root], [root / "parts"], [root / f"parts/{good}", root / f"parts/{bad}"]):
        with pytest.raises(UserError, match="test/<kind>") as caught:
            discover(roots, need="train")
        assert str(root / "parts" / bad) in str(caught.value)


@pytest.mark.parametrize("name", ["NG", "bad", "bottle_ng", "Defects", "positive", "neg", "masks",
                                  "Ground_Truth", "gt"])  # fmt: skip
def test_a_class_that_is_none_by_its_name(write, name):
    root = write(f"{name}/a.png", "bottle/b.png")
    for start in (root, root / name):
        with pytest.raises(UserError, match=r"would be learnt as defect-free") as caught:
            discover([start], need="any")
        assert str(root / name / "train/good") in str(caught.value)
    # What to do about it helps.
    (root / name / "train/good").mkdir(parents=True)
    (root / name / "a.png").rename(root / name / "train/good/a.png")
    assert discover([root], need="train").names == tuple(sorted(["bottle", name]))


def test_two_good_kinds_are_one(write):
    root = write("nut/good/a.png", "nut/test/good/b.png", "nut/test/OK/c.png", "nut/test/x/d.png")
    assert [r.kind for r in only(discover([root], need="test")).test] == ["good", "good", "x"]


@pytest.mark.parametrize("kind", ["positive", "0", "almost good", "masks", "Ground_Truth"])
def test_a_kind_that_may_be_good_or_masks(write, kind):
    root = write("nut/good/a.png", f"nut/test/{kind}/b.png")
    with pytest.raises(UserError, match=r"call it good|move them to .*ground_truth") as caught:
        discover([root], need="any")
    assert str(root / "nut/test" / kind) in str(caught.value)


def test_a_split_above_the_classes_is_not_a_class(write):
    root = write("data/train/nut/good/a.png", "data/test/nut/bent/b.png")
    with pytest.raises(UserError, match=r"it is unclear(.|\n)*train/nut"):
        discover([root], need="any")


def test_training_images_that_are_called_defective(write, caplog):
    root = write("nut/OK_1.png", "nut/OK_2.png", "nut/NG_1.png", "reject/NG_1.png")
    (root / "reject").rename(root / "bolt")
    discover([root], need="train")
    assert "1 of the 3 training images of nut are called defective" in caplog.text
    assert "NG_1.png" in caplog.text
    assert "bolt" not in caplog.text  # all are called so: the product's name


@pytest.mark.parametrize("folder", ["Ground_Truth", "mask", "GT", "labels", "ground truth"])
@pytest.mark.parametrize("kind", ["bent", "Bent"])
@pytest.mark.parametrize("name", ["0_mask.png", "0_label.bmp", "0.png", "0-GT.png"])
def test_folders_of_masks_and_their_files(write, folder, kind, name):
    root = write("nut/good/a.png", "nut/test/bent/0.png", f"nut/{folder}/{kind}/{name}")
    (record,) = only(discover([root], need="test")).test
    assert record.mask == root / "nut" / folder / kind / name


def test_kinds_that_differ_in_case_have_their_own_masks(write):
    files = [f"nut/{top}/{kind}/0.png" for top in ("test", "masks") for kind in ("bent", "BENT")]
    root = write("nut/good/a.png", *files)
    if len(list((root / "nut/test").iterdir())) == 1:
        pytest.skip("no case here")
    for record in only(discover([root], need="test")).test:
        assert record.mask == root / "nut/masks" / record.kind / "0.png"


PAIRS = [("Part0.jpg", "Part0_label.bmp"), ("000.png", "000_mask.png"), ("a.png", "mask_a.png")]


@pytest.mark.parametrize(("image", "mask"), PAIRS)
@pytest.mark.parametrize("kind", ["bent/", ""])
def test_masks_beside_test_images(write, image, mask, kind):
    root = write("nut/good/a.png", f"nut/test/{kind}{image}", f"nut/test/{kind}{mask}")
    product = only(discover([root], need="test"))
    place = root / "nut/test" / kind
    name = "bent" if kind else "defect"
    assert product.test == (ImageRecord(place / image, "nut", "test", name, place / mask),)


@pytest.mark.parametrize(("image", "mask"), PAIRS)
@pytest.mark.parametrize("place", ["", "train/", "train/good/", "good/"])
def test_masks_beside_training_images_are_refused(write, image, mask, place):
    root = write(f"nut/{place}{image}", f"nut/{place}{mask}", f"nut/{place}other.png")
    with pytest.raises(UserError, match="look like masks") as caught:
        discover([root], need="train")
    assert mask in str(caught.value)
    assert "other.png" not in str(caught.value)


def test_names_like_masks_without_their_image_are_images(write):
    root = write("nut/face_mask.png", "nut/white_label.png")
    assert len(only(discover([root], need="train")).train) == 2


def test_masks_beside_good_test_images_are_no_images(write, caplog):
    root = write("nut/good/a.png", "nut/test/good/0.png", "nut/test/good/0_mask.png")
    (record,) = only(discover([root], need="test")).test
    assert (record.path.name, record.mask) == ("0.png", None)
    assert f"1 file in {root}/nut/test/good" in caplog.text


def test_masks_beside_some_images_alone(write):
    root = write("nut/good/a.png", *(f"nut/test/bent/{n}.png" for n in ("0", "0_mask", "1")))
    with pytest.raises(UserError, match=r"have no mask(.|\n)*bent/1\.png"):
        discover([root], need="test")


def test_masks_in_two_places(write):
    root = write("nut/good/a.png", "nut/test/bent/0.png", "nut/test/bent/0_mask.png",
                 "nut/ground_truth/bent/0_mask.png")  # fmt: skip
    with pytest.raises(UserError, match="keep one of the two"):
        discover([root], need="test")


def test_a_folder_above_the_classes_names_those_that_hold_them(write, caplog):
    root = write(*(f"line/data/{path}" for path in MVTEC))
    for start in (root, root / "line"):
        with pytest.raises(UserError, match="but these do") as caught:
            discover([start], need="any")
        assert str(caught.value).splitlines()[1:] == [f"  {root / 'line/data'}"]
    assert not caplog.text  # no list of what was left out


@pytest.mark.parametrize("part", ["train", "train/good", "test/good"])
def test_a_folder_within_a_product_is_no_product(write, part):
    root = write(*MVTEC)
    with pytest.raises(UserError, match="would be a product called") as caught:
        discover([root / "bolt" / part], need="train")
    assert f"here {root / 'bolt'}, or call" in str(caught.value)
    # Where a name is given anyway, as by `calibrate --class`, such a folder is one of pictures.
    assert only(discover([root / "bolt" / part], need="train", named=False)).train


def test_no_test_images_says_where_they_go_and_what_does_without(write):
    root = write("bolt/train/good/0.png")
    with pytest.raises(UserError, match=r"class/test/<kind>.*omnial predict"):
        discover([root], need="test")
