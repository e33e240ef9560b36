from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from omnial.data.layouts import discover
from omnial.errors import UserError
from omnial.reporting.sheets import LEVEL_COLOURS, write_contact_sheets


class Batch(NamedTuple):
    normal: NDArray[np.float32]
    anomalous: NDArray[np.float32]
    mask: NDArray[np.float32]
    jnd: NDArray[np.float32]
    panel: NDArray[np.float32]
    level: NDArray[np.uint8]


def flat_batch(count: int, height: int = 32, width: int = 40) -> Batch:
    """Every field constant, so that its colour can be found on the page."""

    def constant(channels: tuple[float, ...]) -> NDArray[np.float32]:
        values = np.array(channels, dtype=np.float32)[None, :, None, None]
        return np.broadcast_to(values, (count, len(channels), height, width)).copy()

    return Batch(
        constant((0.8, 0.4, 0.2)),
        constant((0.2, 0.4, 1.0)),
        constant((1.0,)),
        constant((0.6,)),
        constant((0.0,)),
        constant((3.0,)).astype(np.uint8),
    )


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as sheet:
        return np.asarray(sheet.convert("RGB"))


def count_of(page: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((page == np.array(colour)).all(axis=2).sum())


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


def test_tensors_and_arrays_give_the_same_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays = Batch(
        *(rng.random((2, c, 32, 32), dtype=np.float32) for c in (3, 3, 1, 1, 1)),
        rng.integers(0, 4, (2, 1, 32, 32), dtype=np.uint8),
    )
    tensors = Batch(*(torch.from_numpy(field).requires_grad_(False) for field in arrays))
    (first,) = write_contact_sheets(arrays, ["a", "b"], tmp_path / "arrays")
    (second,) = write_contact_sheets(tensors, ["a", "b"], tmp_path / "tensors")
    assert first.read_bytes() == second.read_bytes()


def test_long_and_hostile_labels_stay_on_the_page(tmp_path: Path) -> None:
    names = ["x" * 5000, "line\nbreak <b>瓶</b> \udcff"]
    (path,) = write_contact_sheets(flat_batch(2), names, tmp_path)
    (plain,) = write_contact_sheets(flat_batch(2), ["a", "b"], tmp_path / "plain")
    page = pixels(path)
    assert page.shape == pixels(plain).shape
    assert (page[:, -12:] == 255).all()


def test_no_samples_no_pages(tmp_path: Path) -> None:
    assert write_contact_sheets(flat_batch(0), [], tmp_path) == []


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 samples and 1 names"):
        write_contact_sheets(flat_batch(2), ["a"], tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        write_contact_sheets(flat_batch(1), ["a"], tmp_path / "file")


def test_sheets_are_no_images_of_a_product(tmp_path: Path) -> None:
    for folder in ("nut", "sheets"):
        write_contact_sheets(flat_batch(3), ["a", "b", "c"], tmp_path / folder, rows=2)
    Image.new("RGB", (9, 9)).save(tmp_path / "nut/0.png")
    (product,) = discover([tmp_path], need="train").classes
    assert [record.path for record in product.train] == [tmp_path / "nut/0.png"]
