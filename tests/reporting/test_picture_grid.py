from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from omnial.data.layouts import discover
from omnial.errors import UserError
from omnial.reporting.picture_grid import LEVEL_COLOURS, picture_grid, write_contact_sheets
from omnial.synthesis.recipe import SynthesizedBatch


def flat_batch(count: int, height: int = 32, width: int = 40) -> SynthesizedBatch:
    """Every field constant, so that its colour can be found on the page."""

    def constant(*channels: float) -> torch.Tensor:
        values = torch.tensor(channels)[None, :, None, None]
        return values.expand(count, -1, height, width)

    return SynthesizedBatch(
        constant(0.8, 0.4, 0.2),
        constant(0.2, 0.4, 1.0),
        constant(1.0),
        constant(0.6),
        constant(0.0),
        constant(3.0).byte(),
    )


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB"))


def count_of(page: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((page == np.array(colour)).all(axis=2).sum())


def picture(value: int) -> np.ndarray:
    return np.full((20, 30, 3), value, np.uint8)


def test_a_grid_shows_every_picture_in_its_place() -> None:
    rows = [("bolt", [picture(10), None]), ("nut", [picture(90), picture(200)])]
    sheet = np.asarray(
        picture_grid(["a", "a very long heading that must be broken"], rows, cell_height=40)
    )
    for value in (10, 90, 200):
        assert int((sheet == value).all(axis=2).sum()) >= 40 * 60
    where = [np.argwhere((sheet == value).all(axis=2)).mean(axis=0) for value in (10, 90, 200)]
    assert where[0][0] < where[1][0] == where[2][0]
    assert where[0][1] == where[1][1] < where[2][1]


def test_every_field_is_on_the_page_once_a_row(tmp_path: Path) -> None:
    (path,) = write_contact_sheets(flat_batch(2), ["cap", "label"], tmp_path, cell_height=64)
    page, area = pixels(path), 2 * 64 * 80
    assert count_of(page, (204, 102, 51)) == area
    assert count_of(page, (51, 102, 255)) == area
    assert count_of(page, (153, 153, 153)) >= area
    assert count_of(page, (51, 26, 13)) == area  # outside of the panel: the image, dimmed
    assert count_of(page, LEVEL_COLOURS[3]) >= area


def test_pages_hold_rows_and_replace_those_of_an_earlier_run(tmp_path: Path) -> None:
    write_contact_sheets(flat_batch(9), ["nut"] * 9, tmp_path, rows=2, cell_height=32)
    batch = flat_batch(5)
    paths = write_contact_sheets(batch, ["cap"] * 5, tmp_path, rows=2, cell_height=32)
    assert [path.name for path in paths] == [f"samples_00{n}.png" for n in (1, 2, 3)]
    assert sorted(tmp_path.glob("*.*g")) == paths
    cells = [count_of(pixels(path), (51, 102, 255)) for path in paths]
    assert cells == [2 * 32 * 40, 2 * 32 * 40, 32 * 40]


def test_long_and_hostile_labels_stay_on_the_page(tmp_path: Path) -> None:
    names = ["x" * 5000, "line\nbreak <b>瓶</b> \udcff"]
    (path,) = write_contact_sheets(flat_batch(2), names, tmp_path)
    (plain,) = write_contact_sheets(flat_batch(2), ["a", "b"], tmp_path / "plain")
    page = pixels(path)
    assert page.shape == pixels(plain).shape
    assert (page[:, -8:] == 255).all()


def test_no_samples_no_pages(tmp_path: Path) -> None:
    assert write_contact_sheets(flat_batch(0), [], tmp_path) == []


def test_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Name another folder"):
        write_contact_sheets(flat_batch(1), ["a"], tmp_path / "file")


def test_sheets_are_no_images_of_a_product(tmp_path: Path) -> None:
    for folder in ("nut", "sheets"):
        write_contact_sheets(flat_batch(3), ["a", "b", "c"], tmp_path / folder, rows=2)
    Image.new("RGB", (9, 9)).save(tmp_path / "nut/0.png")
    (product,) = discover([tmp_path], need="train").classes
    assert [record.path for record in product.train] == [tmp_path / "nut/0.png"]
