from pathlib import Path

import pytest

from omnial.data.records import ImageRecord
from omnial.evaluation.result import FIGURES, ImageResult, Verdicts, no_figures
from omnial.reporting import tables

PERCENT, DECIBEL = tables.COLUMNS[0], tables.COLUMNS[FIGURES.index("psnr")]


def image(kind: str, score: float, threshold: float) -> ImageResult:
    return ImageResult(ImageRecord(Path("x.png"), "cap", "test", kind), score, threshold)


def test_every_figure_has_a_column_in_order() -> None:
    assert tuple(column.key for column in tables.COLUMNS) == FIGURES
    assert len({column.long_label for column in tables.COLUMNS}) == len(FIGURES)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        (PERCENT, 0.98765, "98.8"),
        (PERCENT, 1.0, "100.0"),
        (PERCENT, 0.0, "0.0"),
        (PERCENT, -0.25, "\N{MINUS SIGN}25.0"),
        (PERCENT, None, "—"),
        (PERCENT, float("nan"), "—"),
        (DECIBEL, 31.26, "31.3"),
        (DECIBEL, float("inf"), "∞"),
    ],
)
def test_numbers(column: tables.Metric, value: float | None, text: str) -> None:
    assert column.text(value) == text


def test_bars_stay_in_their_cell() -> None:
    figures = no_figures() | {"psnr": 80.0, "ssim": -0.5, "aupro": 0.5}
    shares = {column.key: column.bar(figures[column.key]) for column in tables.COLUMNS}
    assert (shares["psnr"], shares["ssim"], shares["aupro"]) == (1.0, 0.0, 0.5)
    assert shares["image_ap"] is None


def test_verdicts_are_strict_and_leave_out_what_has_no_threshold() -> None:
    images = [
        image("good", 0.5, 0.5),
        image("good", 0.6, 0.5),
        image("dent", 0.5, 0.5),
        image("dent", 0.51, 0.5),
        image("dent", 0.9, 0.5),
        image("dent", 0.9, float("nan")),
    ]
    counted = Verdicts.of(images)
    assert counted == Verdicts(good=2, false_alarms=1, defective=3, found=2, without=1)
    assert counted.missed == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.26, "0.3 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (3599.9, "1 h 0 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_json_becomes_rows() -> None:
    values = {"a": {"b": 1234567, "c": None, "d": {"e": True}}, "f": [1, "x"], "g": 0.5, "h": []}
    assert tables.flat(values) == [
        ("a.b", "1,234,567"),
        ("a.d.e", "yes"),
        ("f", "1, x"),
        ("g", "0.5"),
        ("h", "—"),
    ]


def test_a_share_of_nothing_is_a_dash() -> None:
    assert tables.share(0, 0) == "—"
    assert tables.share(1, 3) == "33.3 %"
