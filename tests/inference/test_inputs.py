import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnial.data.listing import mark_own
from omnial.errors import UserError
from omnial.inference.inputs import each_image, list_inputs, name_results


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_folders_are_searched_in_sorted_order_for_images_alone(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/1.JPG", "a/x/3.tiff", "a/notes.txt", "z.webp")
    touch(tmp_path, ".hidden/4.png", "b/._1.JPG", "b/.5.png")
    found = [source.path.relative_to(tmp_path).as_posix() for source in list_inputs([tmp_path])]
    assert found == ["a/x/3.tiff", "b/1.JPG", "b/2.png", "z.webp"]


def test_order_of_the_arguments_is_kept_and_nothing_comes_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    paths = [tmp_path / "b/3.png", tmp_path / "a", tmp_path / "b", tmp_path / "a/../a/1.png"]
    found = [source.path for source in list_inputs(paths)]
    assert found == [tmp_path / "b/3.png", tmp_path / "a/1.png", tmp_path / "b/2.png"]


def test_named_file_is_taken_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "scan.raw", "scan")
    assert len(list_inputs([tmp_path / "scan.raw", tmp_path / "scan"])) == 2


def test_equal_stems_get_different_names_that_do_not_change(tmp_path: Path) -> None:
    touch(tmp_path, "a/000.png", "b/000.png", "b/000.jpg", "b/000_mask.png")
    names = {source.path: source.name for source in list_inputs([tmp_path])}
    assert len(set(names.values())) == 4
    assert all(name.startswith("000") and "/" not in name for name in names.values())
    touch(tmp_path, "0/000.png", "b/00.png")
    again = {source.path: source.name for source in list_inputs([tmp_path])}
    assert names.items() <= again.items()


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_names_fit_into_a_file_system(stem: str) -> None:
    ((_, name),) = name_results([Path("folder") / f"{stem}.png"])
    assert len(os.fsencode(f"{name}.png")) <= 255
    assert "/" not in name


def test_results_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "1.png", "maps/1.png", "overlays/7/1.jpg", "more/maps/2.png", "samples_001.png")
    for folder in ("maps", "overlays"):
        mark_own(tmp_path / folder)
    mark_own(tmp_path, ["samples_001.png"])
    found = list_inputs([tmp_path])
    names = [source.path.relative_to(tmp_path).as_posix() for source in found]
    assert names == ["1.png", "more/maps/2.png"]
    for folder in ("maps", "overlays", "."):
        assert f"1 file in {tmp_path / folder}: results that omnial wrote" in caplog.text
    with pytest.raises(UserError, match="No images"):
        list_inputs([tmp_path / "maps"])
    named = [tmp_path / "maps/1.png", tmp_path / "overlays/7/1.jpg", tmp_path / "samples_001.png"]
    assert [source.path for source in list_inputs([tmp_path, *named])][2:] == named


def test_what_is_left_out_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a/1.png", "a/2.jp2", "a/3.JP2", "a/notes.txt", "b/4.png", "a/5.jfif")
    (tmp_path / "a/link").symlink_to(tmp_path / "b")
    assert [source.path.name for source in list_inputs([tmp_path / "a"])] == ["1.png", "5.jfif"]
    (record,) = caplog.records
    assert record.getMessage().splitlines() == [
        "left out:",
        f"  2 files in {tmp_path}/a: .jp2 is not read; save them as PNG or TIFF",
        f"  link {tmp_path}/a/link: not followed; name the folder to have it read",
    ]
    caplog.clear()
    assert len(list_inputs([tmp_path / "b"])) == 1
    assert caplog.text == ""


def test_missing_paths_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.png"):
        list_inputs([tmp_path, tmp_path / "nothing.png"])
    with pytest.raises(UserError, match=r"No images in .*\.png"):
        list_inputs([tmp_path])


NAMES = st.sampled_from(["a", "a.png", "b", "b.PNG", ".h", "a-b", "c.txt", "Z.jpg"])


@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=12),
    st.lists(st.lists(NAMES, max_size=3), min_size=1, max_size=3),
)
def test_listing_one_by_one_is_the_sorted_search_of_everything(
    files: list[list[str]], named: list[list[str]]
) -> None:
    """The oracle holds all files in memory, sorts them, and keeps the first of equal ones."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for parts in files:
            with contextlib.suppress(OSError):  # a file stands where a folder would be
                touch(root, "/".join(parts))
        paths = [path for path in (root.joinpath(*parts) for parts in named) if path.exists()]
        expected: dict[Path, None] = {}
        for path in paths:
            below = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in below:
                shown = not any(part.startswith(".") for part in file.relative_to(path).parts)
                image = file.suffix.lower() in {".png", ".jpg"} or file == path
                if file.is_file() and shown and image:
                    expected.setdefault(file)
        assert list(each_image(paths)) == list(expected)


def test_file_behind_a_link_or_in_a_hidden_folder_is_listed_where_it_is_named(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "data/.hidden/1.png", "elsewhere/2.png", "data/maps/3.png", "data/4.png")
    (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere")
    inner = [tmp_path / "data" / name for name in (".hidden", "link", "maps", "4.png")]
    mark_own(tmp_path / "data/maps")
    found = each_image([tmp_path / "data", *inner, tmp_path / "data/maps/3.png"])
    names = [path.relative_to(tmp_path / "data").as_posix() for path in found]
    assert names == ["4.png", ".hidden/1.png", "link/2.png", "maps/3.png"]


def test_an_address_of_a_camera_is_sent_to_watch() -> None:
    with pytest.raises(UserError, match="for omnial watch"):
        list(each_image([Path("rtsp://camera/1")]))
