"""The robustness page's own parts: sheets of pictures, charts over steps."""

from xml.etree import ElementTree

import numpy as np
import pytest

from omnial.reporting.figures import step_chart
from omnial.reporting.mosaic import mosaic
from omnial.reporting.robustness_page import published_table


def picture(value: int) -> np.ndarray:
    return np.full((20, 30, 3), value, np.uint8)


def test_a_mosaic_shows_every_picture_in_its_place() -> None:
    rows = [("bolt", [picture(10), None]), ("nut", [picture(90), picture(200)])]
    sheet = mosaic(["a", "a very long heading that must be broken"], rows, cell_height=40)
    for value in (10, 90, 200):
        assert int((sheet == value).all(axis=2).sum()) >= 40 * 60
    where = [np.argwhere((sheet == value).all(axis=2)).mean(axis=0) for value in (10, 90, 200)]
    assert where[0][0] < where[1][0] == where[2][0]
    assert where[0][1] == where[1][1] < where[2][1]


def test_a_mosaic_without_pictures_or_of_uneven_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="2 pictures"):
        mosaic(["a", "b"], [("bolt", [picture(1)])])
    with pytest.raises(ValueError, match="no picture"):
        mosaic(["a"], [("bolt", [None])])


def test_a_chart_has_a_titled_line_for_each_model() -> None:
    svg = step_chart(
        *("key", "Pixel AP", "grey levels", "AP", ["0", "1", "2"]),
        [("one <model>", [0.9, None, 0.5]), ("two", [0.8, 0.7, 0.6])],
    )
    root = ElementTree.fromstring(svg)
    titles = [element.text for element in root.iter("title")]
    assert titles == ["one <model>", "two"]
    assert "var(--series-1)" in svg
    assert "2 models" in root.attrib["aria-label"]


def test_the_published_table_quotes_both_averages() -> None:
    table = published_table()
    rows = dict(table.rows)
    assert sum(span for _, span in table.groups) == len(table.columns) == 15
    assert rows["Pixel AP, %: average as printed"][0] == "22.3"
    assert rows["Pixel AP, %: mean of the printed rows"][0] == "23.2"
    assert rows["PSNR, dB: last row (zipper)"][-1] == "34.1"
    assert rows["SSIM, 0..1: average as printed"][-1] == "0.970"
    assert all(len(cells) == 15 for cells in rows.values())
    assert all("as published" in title for title, _ in table.groups)
