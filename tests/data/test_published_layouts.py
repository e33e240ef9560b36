"""Small trees in the layouts that data sets are published in."""

import csv
import json
from pathlib import Path

import pytest

from omnial.config.settings import DataSettings
from omnial.data.checks import check_files
from omnial.data.layouts import discover
from omnial.errors import UserError

NG = "NG/{}/S0007/audiojack_0007_NG_{}_C1_20230101000000.{}"


def summary(root, caplog, need="train"):
    """Layout, training images, test images by kind and their masks, of each class; files read."""
    catalogue = discover([root], need=need)
    assert check_files(catalogue, DataSettings()).bad_files == ()
    caplog.clear()
    return {
        product.name: (
            product.layout,
            [record.path.name for record in product.train],
            [(r.kind, r.path.name, r.mask and r.mask.name) for r in product.test],
        )
        for product in catalogue.classes
    }


def test_mvtec_ad_2(write, caplog):
    root = write(
        "can/train/good/000_regular.png", "can/validation/good/000_regular.png",
        "can/test_public/good/000_regular.png", "can/test_public/bad/000_overexposed.png",
        "can/test_public/ground_truth/bad/000_overexposed_mask.png",
        "can/test_private/000_regular.png", "can/test_private_mixed/000_mixed.png",
    )  # fmt: skip
    discover([root], need="train")
    for folder in ("validation/good", "test_private", "test_private_mixed"):
        assert f"1 file in {root / 'can' / folder}" in caplog.text
    bad = ("bad", "000_overexposed.png", "000_overexposed_mask.png")
    test = [bad, ("good", "000_regular.png", None)]
    assert summary(root, caplog) == {"can": ("MVTec AD 2", ["000_regular.png"], test)}
    assert summary(root / "can", caplog) == summary(root, caplog)


def test_btad_and_mpdd(write, caplog):
    root = write(
        "01/train/ok/0000.bmp", "01/test/ok/0001.bmp", "01/test/ko/0002.bmp",
        "01/ground_truth/ko/0002.png",
        "tubes/train/good/000.png", "tubes/test/good/000.png", "tubes/test/anomalous/000.png",
        "tubes/ground_truth/anomalous/000_mask.png",
    )  # fmt: skip
    ko = [("good", "0001.bmp", None), ("ko", "0002.bmp", "0002.png")]
    anomalous = [("anomalous", "000.png", "000_mask.png"), ("good", "000.png", None)]
    assert summary(root, caplog) == {
        "01": ("MVTec AD", ["0000.bmp"], ko),
        "tubes": ("MVTec AD", ["000.png"], anomalous),
    }


def test_visa(write, caplog):
    images = "Data/Images"
    root = write(
        f"candle/{images}/Normal/0000.JPG", f"candle/{images}/Normal/0001.JPG",
        f"candle/{images}/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png",
    )  # fmt: skip
    bad = (f"candle/{images}/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png")
    lines = [(f"candle/{images}/Normal/000{i}.JPG", "") for i in range(2)]
    own = [("image", "label", "mask"), *((i, "normal", m) for i, m in lines)]
    own.append((bad[0], "melded wax,foreign particles on candle", bad[1]))
    split = [("object", "split", "label", "image", "mask")]
    split += [("candle", ("train", "test")[n], "normal", *line) for n, line in enumerate(lines)]
    split.append(("candle", "test", "anomaly", *bad))
    write_csv(root / "candle/image_anno.csv", own)
    for name in ("1cls", "2cls_fewshot", "2cls_highshot"):
        write_csv(root / f"split_csv/{name}.csv", split)
    test = [("anomaly", "000.JPG", "000.png"), ("good", "0001.JPG", None)]
    assert summary(root, caplog) == {"candle": ("VisA", ["0000.JPG"], test)}


def write_csv(path, rows):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


class TestKolektorSDD2:
    @pytest.fixture
    def root(self, write) -> Path:
        good = ("train/10001", "train/10002", "test/20000")
        bad = ("train/10000", "test/20001")
        write(*(f"KolektorSDD2/{name}_GT.png" for name in good), value=0)
        return write(
            *(f"KolektorSDD2/{name}.png" for name in (*good, *bad)),
            *(f"KolektorSDD2/{name}_GT.png" for name in bad),
        )

    def test_the_masks_say_what_is_good(self, root, caplog):
        caplog.set_level("INFO")
        (product,) = discover([root / "KolektorSDD2"], need="train").classes
        assert "1 of the 3 images in" in caplog.text
        assert "left out" not in caplog.text
        assert [path.name for path in product.unused] == [
            "10000.png", "10000_GT.png", "10001_GT.png", "10002_GT.png", "20000_GT.png",
        ]  # fmt: skip
        test = [("defect", "20001.png", "20001_GT.png"), ("good", "20000.png", None)]
        expected = ("KolektorSDD2", ["10001.png", "10002.png"], test)
        assert summary(root, caplog) == {"KolektorSDD2": expected}

    def test_a_mask_that_is_not_there_or_unreadable(self, root):
        mask = root / "KolektorSDD2/train/10001_GT.png"
        mask.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        with pytest.raises(UserError, match=r"10001_GT\.png"):
            discover([root], need="train")
        mask.unlink()
        with pytest.raises(UserError, match=r"no mask next to them(.|\n)*10001\.png"):
            discover([root], need="train")


class TestRealIAD:
    @pytest.fixture
    def root(self, write) -> Path:
        images = ("OK/S0001/a_OK_C1.jpg", "OK/S0002/b_OK_C1.jpg", NG.format("HS", "HS", "jpg"))
        root = write(*(f"Real-IAD/realiad_1024/audiojack/{path}" for path in images))
        write(f"Real-IAD/realiad_1024/audiojack/{NG.format('HS', 'HS', 'png')}", value=255)
        self.write_list(root / "Real-IAD/realiad_jsons/audiojack.json", images)
        return root / "Real-IAD"

    @staticmethod
    def write_list(path: Path, images: tuple[str, ...], split: str = "test") -> None:
        def entry(image: str, kind: str, mask: str | None = None) -> dict[str, object]:
            return {
                "category": "audiojack",
                "anomaly_class": kind,
                "image_path": image,
                "mask_path": mask,
            }

        content = {
            "meta": {"normal_class": "OK", "prefix": "audiojack/", "pre_transform": None},
            "train": [entry(images[0], "OK")],
            "test": [entry(images[1], "OK")],
        }
        content[split] += [entry(images[2], "HS", NG.format("HS", "HS", "png"))]  # type: ignore[operator]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")

    def test_the_list_says_what_an_image_is(self, root, caplog, monkeypatch):
        hs = NG.format("HS", "HS", "jpg").rpartition("/")[2]
        test = [("HS", hs, hs.replace(".jpg", ".png")), ("good", "b_OK_C1.jpg", None)]
        expected = {"audiojack": ("Real-IAD", ["a_OK_C1.jpg"], test)}
        for start in (".", "realiad_1024", "realiad_1024/audiojack"):
            assert summary(root / start, caplog) == expected
        monkeypatch.chdir(root / "realiad_1024")
        assert summary(Path("audiojack"), caplog) == expected
        # As the archive of the lists has them.
        (root / "realiad_jsons").rename(root / "lists")
        (root / "realiad_jsons").mkdir()
        (root / "lists").rename(root / "realiad_jsons/realiad_jsons")
        assert summary(root, caplog) == expected

    def test_images_in_two_sizes(self, root, write):
        write("Real-IAD/realiad_512/audiojack/OK/S0001/a_OK_C1.jpg")
        with pytest.raises(UserError, match=r"several sizes(.|\n)*realiad_1024(.|\n)*realiad_512"):
            discover([root], need="train")

    def test_wrong_lists_are_named(self, root):
        path = root / "realiad_jsons/audiojack.json"
        self.write_list(path, ("OK/S0001/a_OK_C1.jpg", "OK/S0002/b_OK_C1.jpg", "x.jpg"), "train")
        with pytest.raises(UserError, match=r"json, train image 2: a defective image cannot be"):
            discover([root], need="train")
        self.write_list(path, ("OK/S0001/a_OK_C1.jpg", "gone.jpg", "x.jpg"))
        with pytest.raises(UserError, match=r"do not exist(.|\n)*gone\.jpg"):
            discover([root], need="train")
        for content, place in (
            ("[]", "the whole"),
            ("{", "the whole"),
            ('{"meta": {"normal_class": "OK"}, "train": [1], "test": []}', r"train\.0"),
        ):
            path.write_text(content)
            with pytest.raises(UserError, match=rf"audiojack\.json is no list .*: {place}: "):
                discover([root], need="train")
