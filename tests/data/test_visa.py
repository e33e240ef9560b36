import csv
from pathlib import Path

import pytest

from omnial.data.layouts import discover
from omnial.errors import UserError

NORMAL, ANOMALY, MASKS = "Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"


def table(path, header, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header.split(), *rows])
    return path


@pytest.fixture
def candle(write):
    """Ten normal and two defective images of one class, as VisA lays them out."""
    return write(
        *(f"candle/{NORMAL}/{i:04}.JPG" for i in range(10)),
        *(f"candle/{ANOMALY}/{i:03}.JPG" for i in range(2)),
        *(f"candle/{MASKS}/{i:03}.png" for i in range(2)),
    )


def class_rows(prefix="candle/"):
    return [
        *((f"{prefix}{NORMAL}/{i:04}.JPG", "normal", "") for i in range(10)),
        (f"{prefix}{ANOMALY}/000.JPG", "damaged wick", f"{prefix}{MASKS}/000.png"),
        (f"{prefix}{ANOMALY}/001.JPG", "wax/foam, damaged wick", f"{prefix}{MASKS}/001.png"),
    ]


def split_rows():
    # The reverse of what the names alone would give.
    return [
        *(
            ("candle", "test" if i == 0 else "train", "normal", f"candle/{NORMAL}/{i:04}.JPG", "")
            for i in range(10)
        ),
        *(
            (
                "candle",
                "test",
                "anomaly",
                f"candle/{ANOMALY}/{i:03}.JPG",
                f"candle/{MASKS}/{i:03}.png",
            )
            for i in range(2)
        ),
        ("pcb1", "train", "normal", "pcb1/Data/Images/Normal/0000.JPG", ""),
    ]


SPLIT_HEADER = "object split label image mask"
CLASS_HEADER = "image label mask"


def read(start, need="any"):
    (product,) = discover([start], need=need).classes
    return product


@pytest.mark.parametrize("prefix", ["candle/", ""])
def test_a_class_table_without_a_split(candle, prefix):
    table(candle / "candle/image_anno.csv", CLASS_HEADER, *class_rows(prefix)[::-1])
    product = read(candle)
    assert product == read(candle / "candle")
    assert (product.name, product.root) == ("candle", candle / "candle")
    assert [r.path.name for r in product.train] == [f"{i:04}.JPG" for i in range(9)]
    assert {r.kind for r in product.train} == {"good"}
    masks = candle / "candle" / MASKS
    assert [(r.path.name, r.kind, r.mask) for r in product.test] == [
        ("000.JPG", "damaged wick", masks / "000.png"),
        ("001.JPG", "damaged wick+wax-foam", masks / "001.png"),
        ("0009.JPG", "good", None),
    ]


def test_the_split_file_goes_first(candle):
    table(candle / "candle/image_anno.csv", CLASS_HEADER, *class_rows())
    table(candle / "split_csv/1cls.csv", SPLIT_HEADER, *split_rows())
    # pcb1 stands in the split file, but its folder is not there.
    product = read(candle, need="train")
    assert product == read(candle / "candle", need="train")
    assert [r.path.name for r in product.train] == [f"{i:04}.JPG" for i in range(1, 10)]
    assert [(r.path.name, r.kind) for r in product.test] == [
        ("000.JPG", "anomaly"),
        ("001.JPG", "anomaly"),
        ("0000.JPG", "good"),
    ]


@pytest.mark.parametrize("split", [True, False])
def test_a_table_of_annotations_at_the_root(candle, split):
    rows = [row for row in split_rows() if row[0] == "candle"]
    header = SPLIT_HEADER
    if not split:
        header = "object label image mask"
        rows = [(row[0], *row[2:]) for row in rows]
    table(candle / "image_anno.csv", header, *rows)
    product = read(candle)
    assert product == read(candle / "candle")
    assert product.name == "candle"
    assert [r.path.name for r in product.train] == [
        f"{i:04}.JPG" for i in (range(1, 10) if split else range(9))
    ]


def test_a_class_table_may_name_its_object_and_split(candle):
    rows = [row for row in split_rows() if row[0] == "candle"]
    table(candle / "candle/image_anno.csv", SPLIT_HEADER, *rows)
    product = read(candle)
    assert product == read(candle / "candle")
    assert [r.path.name for r in product.test if not r.anomalous] == ["0000.JPG"]


def test_layouts_may_be_mixed_below_one_root(candle, write):
    table(candle / "split_csv/1cls.csv", SPLIT_HEADER, *split_rows())
    write("bolt/train/good/0.png", "nut/0.png")
    assert discover([candle], need="train").names == ("bolt", "candle", "nut")


def test_region_of_interest(candle, write):
    table(candle / "candle/image_anno.csv", CLASS_HEADER, *class_rows())
    write("candle/roi.png")
    assert read(candle).roi == candle / "candle" / "roi.png"


def test_marks_of_other_programs_are_understood(candle):
    path = table(candle / "candle/image_anno.csv", "Image LABEL mask", *class_rows())
    text = path.read_text(encoding="utf-8").replace("/Data/", "\\Data\\").replace("\n", "\n\n")
    path.write_text(text.replace(",normal,", ", Normal ,"), encoding="utf-8-sig")
    assert len(read(candle).train) == 9


def test_files_that_are_not_there(candle):
    table(candle / "candle/image_anno.csv", CLASS_HEADER, *class_rows())
    for gone in (f"candle/{NORMAL}/0003.JPG", f"candle/{MASKS}/001.png"):
        (candle / gone).unlink()
    with pytest.raises(UserError, match="do not exist") as caught:
        read(candle)
    assert str(candle / f"candle/{NORMAL}/0003.JPG") in str(caught.value)
    assert str(candle / f"candle/{MASKS}/001.png") in str(caught.value)


def test_a_mask_without_its_image(candle):
    table(candle / "candle/image_anno.csv", CLASS_HEADER, *class_rows())
    (candle / f"candle/{ANOMALY}/001.JPG").unlink()
    with pytest.raises(UserError, match=r"do not exist(.|\n)*001\.JPG"):
        read(candle)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("", "normal", ""), "must be filled"),
        (("candle/a.JPG", "", ""), "must be filled"),
        (("candle/a.JPG", "normal"), "2 cells where the header has 3"),
        (("../a.JPG", "normal", ""), "below the data set's root"),
        (("/etc/a.JPG", "normal", ""), "below the data set's root"),
        ((f"candle/{NORMAL}/0000.JPG", "normal", "m.png"), "a normal image has a mask"),
    ],
)
def test_wrong_lines_are_named(candle, row, message):
    path = table(candle / "candle/image_anno.csv", CLASS_HEADER, *class_rows(), row)
    with pytest.raises(UserError, match=message) as caught:
        read(candle)
    assert f"{path}, line 14" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("candle", "valid", "normal", "candle/a.JPG", ""), "split is train or test"),
        (("candle", "train", "anomaly", "candle/a.JPG", ""), "cannot be for training"),
        (("", "train", "normal", "candle/a.JPG", ""), "name of a class"),
        (("../x", "train", "normal", "candle/a.JPG", ""), "name of a class"),
    ],
)
def test_wrong_lines_of_the_split_file_are_named(candle, row, message):
    path = table(candle / "split_csv/1cls.csv", SPLIT_HEADER, row)
    with pytest.raises(UserError, match=message) as caught:
        read(candle)
    assert f"{path}, line 2" in str(caught.value)


def test_an_image_that_is_named_twice(candle):
    rows = class_rows()
    table(candle / "candle/image_anno.csv", CLASS_HEADER, *rows, rows[3])
    with pytest.raises(UserError, match=r"more than once(.|\n)*0003\.JPG"):
        read(candle)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"picture,label\nx,normal\n", "lacks the columns image"),
        (b"image,label,mask\n\xff\xfe\xfa,normal,\n", "cannot be read as a CSV file"),
        (b'image,label,mask\n"x"y,normal,\n', "cannot be read as a CSV file"),
    ],
)
def test_tables_that_are_none(candle, content, message):
    path = candle / "candle/image_anno.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(candle)
    assert str(path) in str(caught.value)


def test_the_working_folder_may_be_a_class(candle, monkeypatch):
    table(candle / "split_csv/1cls.csv", SPLIT_HEADER, *split_rows())
    monkeypatch.chdir(candle / "candle")
    assert read(Path()) == read(candle / "candle")
    monkeypatch.chdir(candle)
    assert read(Path("candle")).train[0].path == Path("candle", NORMAL, "0001.JPG")


def test_a_broken_table_in_a_class_of_a_root_is_named(candle):
    table(candle / "candle/image_anno.csv", "object image mask", ("candle", "a.JPG", ""))
    with pytest.raises(UserError, match=r"image_anno\.csv lacks the columns label; it has object"):
        read(candle)


@pytest.mark.parametrize("label", ["OK", "Good", "normal", "i.O."])
def test_labels_that_mean_normal(write, label):
    root = write("nut/a.png", "nut/b.png")
    table(root / "nut/image_anno.csv", CLASS_HEADER, ("a.png", label, ""), ("b.png", "NG", ""))
    (product,) = discover([root], need="any").classes
    assert {r.path.name: r.kind for r in (*product.train, *product.test)} == {
        "a.png": "good",
        "b.png": "NG",
    }


@pytest.mark.parametrize("label", ["0", "positive", "good?, bent"])
def test_a_label_that_may_mean_normal(write, label):
    root = write("nut/a.png")
    table(root / "nut/image_anno.csv", CLASS_HEADER, ("a.png", label, ""))
    with pytest.raises(UserError, match=r"image_anno\.csv, line 2: .* does not say"):
        discover([root], need="any")
