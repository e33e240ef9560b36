from pathlib import Path

import pytest

from omnial.data.layouts import discover
from omnial.data.listing import MARK, all_own, image_files, mark_own, own_names, subfolders
from omnial.errors import UserError


def test_a_mark_grows_and_is_written_once(tmp_path):
    assert own_names(tmp_path) == frozenset()
    mark_own(tmp_path, ["b.png"])
    mark_own(tmp_path, ["a.png"])
    assert own_names(tmp_path) == {"a.png", "b.png"}
    assert not all_own(tmp_path)
    before = (tmp_path / MARK).stat()
    mark_own(tmp_path, ["a.png"])
    assert (tmp_path / MARK).stat().st_mtime_ns == before.st_mtime_ns
    mark_own(tmp_path)
    assert all_own(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MARK]


def test_marked_pictures_are_no_images(write):
    root = write("nut/a.png", "nut/samples_001.png", "maps/a.png", "overlays/sub/a.png")
    mark_own(root / "nut", ["samples_001.png"])
    mark_own(root / "maps")
    mark_own(root / "overlays")
    assert image_files(root / "nut") == [root / "nut/a.png"]
    assert image_files(root / "maps") == []
    assert subfolders(root) == [root / "nut"]


def test_results_in_the_data_are_no_product(write, caplog):
    root = write("nut/a.png", "nut/b.png", "nut/samples_001.png", "sheets/samples_001.png",
                 "monday/overlays/x.jpg", "monday/maps/x.png")  # fmt: skip
    for folder in ("sheets", "nut"):
        mark_own(root / folder, ["samples_001.png"])
    for folder in ("overlays", "maps"):
        mark_own(root / "monday" / folder)
    catalogue = discover([root], need="train")
    assert catalogue.names == ("nut",)
    assert [r.path.name for r in catalogue.classes[0].train] == ["a.png", "b.png"]
    for folder in ("sheets", "nut", "monday/maps", "monday/overlays"):
        assert f"1 file in {root / folder}: results that omnial wrote" in caplog.text


def test_results_alone_are_no_data(write):
    root = write("overlays/a.png")
    mark_own(root / "overlays")
    with pytest.raises(UserError, match="results that omnial wrote"):
        discover([root / "overlays"], need="any")


@pytest.mark.skipif(not hasattr(Path, "symlink_to"), reason="no links here")
def test_a_mark_that_cannot_be_read_marks_nothing(tmp_path):
    (tmp_path / MARK).symlink_to(MARK)
    assert own_names(tmp_path) == frozenset()
    (tmp_path / MARK).unlink()
    (tmp_path / MARK).write_bytes(b"\xff\xfe\n\0")
    assert not all_own(tmp_path)
