"""Data sets whose tables, masks or folders are hostile."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.bad_input.forge import HEIGHT, WIDTH, cut, ihdr, png, save
from tests.bad_input.outcomes import (
    DAMAGED,
    EMPTY,
    FOREIGN,
    MEGAPIXELS,
    MISSING,
    NO_FILE,
    Listing,
)

_HEADER = "image,label,mask\n"
_ROWS = "0.png,normal,\n1.png,normal,\n2.png,normal,\nbad.png,bent,mask.png\n"
_MASK = np.full((HEIGHT, WIDTH), 255, np.uint8)
_LINUX = sys.platform == "linux"


def table(name: str, made: str, content: bytes | str, message: str = "") -> Listing:
    """A class of VisA with this table."""

    def write(root: Path) -> None:
        _visa(root)
        encoded = content.encode() if isinstance(content, str) else content
        (root / "candle/image_anno.csv").write_bytes(encoded)

    return Listing(name, made, write, message)


def row(name: str, made: str, line: str, message: str = "") -> Listing:
    """A class of VisA whose table has one more line."""
    return table(name, made, _HEADER + _ROWS + line, message)


def split(name: str, made: str, line: str, message: str = "") -> Listing:
    """A root of VisA whose table of the split has this line."""

    def write(root: Path) -> None:
        _visa(root)
        (root / "split_csv").mkdir()
        text = f"object,split,label,image,mask\ncandle,train,normal,candle/0.png,\n{line}"
        (root / "split_csv/1cls.csv").write_text(text)

    return Listing(name, made, write, message)


def mask(name: str, made: str, content: Callable[[], bytes], message: str = "") -> Listing:
    """A class of MVTec AD with this mask."""

    def write(root: Path) -> None:
        _mvtec(root).write_bytes(content())

    return Listing(name, made, write, message)


def layout(name: str, made: str, change: Callable[[Path], object], message: str = "") -> Listing:
    """A class of MVTec AD, `nut`, with one change."""

    def write(root: Path) -> None:
        _mvtec(root).write_bytes(save(_MASK, "PNG"))
        change(root / "nut")

    return Listing(name, made, write, message)


def _visa(root: Path) -> None:
    (root / "candle").mkdir()
    for name in ("0", "1", "2", "3", "bad"):
        (root / f"candle/{name}.png").write_bytes(png())
    (root / "candle/mask.png").write_bytes(save(_MASK, "PNG"))


def _mvtec(root: Path) -> Path:
    """Images of the class `nut`; returns where the mask of the defective one belongs."""
    for folder in ("train/good", "test/good", "test/bent", "ground_truth/bent"):
        (root / "nut" / folder).mkdir(parents=True)
    for name in ("train/good/0", "train/good/1", "test/good/0", "test/bent/0"):
        (root / f"nut/{name}.png").write_bytes(png())
    return root / "nut/ground_truth/bent/0_mask.png"


def _instead(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else at the place of a file."""
    path.unlink(missing_ok=True)
    make(path)


def _table_is(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "candle").mkdir()
        make(root / "candle/image_anno.csv")

    return write


def _not_a_number() -> bytes:
    values = np.zeros((HEIGHT, WIDTH), np.float32)
    values[2, 3] = np.nan
    return save(values, "TIFF")


_TABLE = "cannot be read as a CSV file in UTF-8"
_ABSENT = "names files that do not exist"
_BELOW = "must be a path below the data set's root"
_NAME = "cannot be the name of a class"
_NO_CLASS = "holds no product classes"
_UNWRITABLE = "rename the folder"
_MASK_FILE = "ground_truth/bent/0_mask.png"

TABLES = (
    table("sound", "nothing is wrong with it", _HEADER + _ROWS),
    table("bom", "a byte order mark and CRLF line ends",
          "\ufeff" + (_HEADER + _ROWS).replace("\n", "\r\n")),
    table("empty", "no byte", "", "is empty"),
    table("header alone", "no line for an image", _HEADER, "have no training images"),
    table("utf-16", "UTF-16", (_HEADER + _ROWS).encode("utf-16"), _TABLE),
    table("latin-1", "a name in Latin-1",
          (_HEADER + _ROWS + "caf\xe9.png,normal,\n").encode("latin-1"), _TABLE),
    table("picture", "a PNG file with that name", png(), _TABLE),
    table("semicolons", "semicolons between the cells",
          (_HEADER + _ROWS).replace(",", ";"), "lacks the columns"),
    table("column twice", "two columns called image",
          "image,label,image\n0.png,normal,1.png\n", "names the columns image more than once"),
    row("short line", "a line of two cells", "4.png,normal\n", "line 6: 2 cells"),
    row("quote", "a quotation mark that is never closed", '"3.png,normal,\n', _TABLE),
    row("long cell", "a cell of 200,000 characters", "x" * 200_000 + ",normal,\n", _TABLE),
    row("zero byte", "a zero byte in a name", "0\0.png,normal,\n", _ABSENT),
    row("long name", "a file name of 300 characters", "x" * 300 + ",normal,\n", _ABSENT),
    row("long path", "a path of 10,000 folders", "x/" * 10_000 + "x,normal,\n", _ABSENT),
    row("absolute", "the path /etc/passwd", "/etc/passwd,normal,\n", _BELOW),
    row("above", "the path ../../etc/passwd", "../../etc/passwd,normal,\n", _BELOW),
    row("above, Windows", "the path ..\\..\\x.png", "..\\..\\x.png,normal,\n", _BELOW),
    row("folder", "a folder as an image", ".,normal,\n", _ABSENT),
    row("twice", "an image on two lines", "./0.png,normal,\n", "more than once"),
    row("own mask", "an image that is its own mask", "0.png,bent,0.png\n", "more than once"),
    row("mask of a good one", "a normal image with a mask", "1.png,normal,mask.png\n",
        "a normal image has a mask"),
    row("no label", "an empty label", "1.png,,\n", "must be filled"),
    row("line break", "a label with a line break", '3.png,"a\nb",\n', "control characters"),
    row("long label", "a label of 300 characters", f"3.png,{'x' * 300},\n",
        "a label has at most 200 characters"),
    row("table as image", "the table itself as an image", "image_anno.csv,bent,\n", FOREIGN),
    split("unknown split", "the split validation", "candle,validation,normal,candle/1.png,\n",
          "split is train or test"),
    split("trained defect", "a defective image for training",
          "candle,train,bent,candle/bad.png,\n", "cannot be for training"),
    split("class above", "a class called ..", "..,train,normal,candle/1.png,\n", _NAME),
    split("class below", "a class called a/b", "a/b,train,normal,candle/1.png,\n", _NAME),
    split("no class", "a class without a name", ",train,normal,candle/1.png,\n", _NAME),
    split("long class", "a class name of 300 characters: it has no folder, and is left out",
          f"{'x' * 300},train,normal,candle/1.png,\n"),
    Listing("pipe", "a named pipe at the table's place",
            _table_is(lambda path: os.mkfifo(path)), _NO_CLASS),
    Listing("loop", "a link to itself at the table's place",
            _table_is(lambda path: path.symlink_to(path.name)), _NO_CLASS),
)  # fmt: skip

MASKS = (
    mask("sound mask", "nothing is wrong with it", lambda: save(_MASK, "PNG")),
    mask("jpeg mask", "a JPEG file with the ending png", lambda: save(_MASK, "JPEG")),
    mask("black mask", "no pixel of a defect", lambda: save(_MASK * 0, "PNG"),
         f"{_MASK_FILE}: it is black all over"),
    mask("empty mask", "no byte", lambda: b"", f"{_MASK_FILE}: {EMPTY}"),
    mask("text mask", "a line of text", lambda: b"mask\n", f"{_MASK_FILE}: {FOREIGN}"),
    mask("cut mask", "60 % of a file", lambda: cut(png()), f"{_MASK_FILE}: {DAMAGED}"),
    mask("rotated mask", "height and width exchanged",
         lambda: save(_MASK.T, "PNG"), "they must be equal"),
    mask("bomb mask", "is said to have 30000 x 30000 pixels",
         lambda: png(header=ihdr(30000, 30000)), "they must be equal"),
    mask("nan mask", "floats, one of them NaN", _not_a_number, "not a number"),
    layout("pipe mask", "a named pipe",
           lambda nut: _instead(nut / _MASK_FILE, os.mkfifo), f"{_MASK_FILE}: {NO_FILE}"),
    layout("loop mask", "a link to itself",
           lambda nut: _instead(nut / _MASK_FILE, lambda p: p.symlink_to(p.name)),
           "Too many levels of symbolic links"),
    layout("foreign mask", "a mask of an image that is not there",
           lambda nut: (nut / "ground_truth/bent/9_mask.png").write_bytes(png()),
           "belong to no image"),
    layout("two masks", "0.png and 0_mask.png for one image",
           lambda nut: (nut / "ground_truth/bent/0.png").write_bytes(png()),
           "belong to no image"),
    layout("foreign kind", "masks of a kind without images",
           lambda nut: save_into(nut / "ground_truth/gone/0_mask.png"), "does not exist"),
)  # fmt: skip

FOLDERS = (
    layout("dead link", "a link to nothing among the images",
           lambda nut: (nut / "train/good/x.png").symlink_to("nothing"), MISSING),
    layout("two folders", "images in train and in train/good",
           lambda nut: save_into(nut / "train/0.png"), "keep one"),
    layout("defects in train", "images in train/bent",
           lambda nut: save_into(nut / "train/bent/0.png"), "it is unclear what"),
    layout("folder in itself", "a link in train/good to its own folder",
           lambda nut: (nut / "train/good/again").symlink_to(".")),
    layout("defects as a product", "a folder NG next to the class",
           lambda nut: save_into(nut.parent / "NG/0.png"), "would be learnt as defect-free"),
    layout("kind that may be good", "images in test/positive",
           lambda nut: save_into(nut / "test/positive/0.png"), "does not say whether"),
    layout("kind of sub-folders", "images in test/dent/monday alone",
           lambda nut: [(nut / "test/dent").mkdir(), save_into(nut / "test/dent/monday/0.png")],
           "has no image directly in it"),
    layout("kind that is not read", "test/dent with a JPEG 2000 file alone",
           lambda nut: save_into(nut / "test/dent/0.jp2"), "has no image directly in it"),
    layout("masks as a kind", "images in test/masks",
           lambda nut: save_into(nut / "test/masks/0.png"), "holds masks by its name"),
    layout("masks in train", "0_mask.png next to 0.png in train/good",
           lambda nut: save_into(nut / "train/good/0_mask.png"), "look like masks"),
    layout("days in train", "train/good/monday with an image, which is left out and counted",
           lambda nut: save_into(nut / "train/good/monday/0.png")),
    layout("black region", "a region of interest that is black all over",
           lambda nut: (nut / "roi.png").write_bytes(save(_MASK * 0, "PNG")), "black all over"),
    layout("bomb region", "a region of interest of 30000 x 30000 pixels",
           lambda nut: (nut / "roi.png").write_bytes(png(header=ihdr(30000, 30000))), MEGAPIXELS),
    layout("pipe region", "a named pipe as region of interest",
           lambda nut: os.mkfifo(nut / "roi.png"), NO_FILE),
    layout("two regions", "roi.png and ROI.jpg",
           lambda nut: [save_into(nut / "roi.png"), save_into(nut / "ROI.jpg")],
           "several regions of interest"),
    layout("kind of bytes", "a kind whose name is no UTF-8",
           lambda nut: save_into(nut / "test" / os.fsdecode(b"\xff") / "0.png"), _UNWRITABLE),
    layout("kind of two lines", "a kind with a line break in its name",
           lambda nut: save_into(nut / "test/a\nb/0.png"), _UNWRITABLE),
    layout("class of bytes", "a class whose name is no UTF-8",
           lambda nut: nut.rename(nut.parent / os.fsdecode(b"nut\xff")), _UNWRITABLE),
    layout("class with backslash", "a class with a backslash in its name",
           lambda nut: nut.rename(nut.parent / "nut\\bolt"), _UNWRITABLE),
    layout("class of two lines", "a class with a Unicode line separator in its name",
           lambda nut: nut.rename(nut.parent / "nut\u2028bolt"), _UNWRITABLE),
)  # fmt: skip


def save_into(path: Path) -> None:
    """Write the usual picture, and the folders above it."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png())


LISTINGS = (*TABLES, *MASKS, *FOLDERS)
