import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnial.errors import UserError
from omnial.inference.collect import _result_name, collect


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_folders_are_searched_in_sorted_order_for_images_alone(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/1.JPG", "a/x/3.tiff", "a/notes.txt", "z.webp")
    touch(tmp_path, ".hidden/4.png", "b/._1.JPG", "b/.5.png")
    found = [source.path.relative_to(tmp_path).as_posix() for source in collect([tmp_path])]
    assert found == ["a/x/3.tiff", "b/1.JPG", "b/2.png", "z.webp"]


def test_order_of_the_arguments_is_kept_and_nothing_comes_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    paths = [tmp_path / "b/3.png", tmp_path / "a", tmp_path / "b", tmp_path / "a/../a/1.png"]
    found = [source.path for source in collect(paths)]
    assert found == [tmp_path / "b/3.png", tmp_path / "a/1.png", tmp_path / "b/2.png"]


def test_named_file_is_taken_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "scan.raw", "scan")
    assert len(collect([tmp_path / "scan.raw", tmp_path / "scan"])) == 2


def test_equal_stems_get_different_names_that_do_not_change(tmp_path: Path) -> None:
    touch(tmp_path, "a/000.png", "b/000.png", "b/000.jpg", "b/000_mask.png")
    names = {source.path: source.name for source in collect([tmp_path])}
    assert len(set(names.values())) == 4
    assert all(name.startswith("000") and "/" not in name for name in names.values())
    touch(tmp_path, "0/000.png", "b/00.png")
    again = {source.path: source.name for source in collect([tmp_path])}
    assert names.items() <= again.items()


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_names_fit_into_a_file_system(stem: str) -> None:
    name = _result_name(Path("folder") / f"{stem}.png", set())
    assert len(os.fsencode(f"{name}.png")) <= 255
    assert "/" not in name


def test_folders_of_results_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "maps/1.png", "overlays/1.jpg", "more/maps/2.png")
    found = collect([tmp_path], leave_out=[tmp_path / "maps", tmp_path / "overlays"])
    names = [source.path.relative_to(tmp_path).as_posix() for source in found]
    assert names == ["1.png", "more/maps/2.png"]


def test_missing_paths_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.png"):
        collect([tmp_path, tmp_path / "nothing.png"])
    with pytest.raises(UserError, match=r"No images in .*\.png"):
        collect([tmp_path])
