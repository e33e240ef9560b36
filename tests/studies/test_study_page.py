"""What a study's page says, and does not say."""

from pathlib import Path

import pytest

from omnial.evaluation.result import FIGURES
from omnial.studies.study_page import (
    RowFigures,
    SeedFigures,
    compare,
    order_of,
    remarks_on,
    study_page,
)
from omnial.studies.study_pictures import chart
from omnial.studies.study_rows import STUDIES, Row, Study


def seed(**mean: float) -> SeedFigures:
    return SeedFigures(mean, {}, ())


def row(name: str, published: float | None, *pixel_ap: float) -> RowFigures:
    figures = {} if published is None else {"pixel_ap": published}
    seeds = [seed(pixel_ap=value, image_auroc=50.0) for value in pixel_ap]
    return RowFigures(Row(name, name, "omnial", published=figures), seeds)


def empty(study: Study) -> list[RowFigures]:
    return [RowFigures(row, ()) for row in study.rows]


@pytest.mark.parametrize(
    ("lower", "higher", "word"),
    [
        ([10.0, 12.0], [13.0, 20.0], "holds"),
        ([13.0, 20.0], [10.0, 12.0], "reversed"),
        ([10.0, 14.0], [13.0, 20.0], "undecided"),
        ([10.0, 12.0], [12.0, 20.0], "undecided"),
        ([10.0], [90.0], "undecided"),
        ([10.0, 11.0], [90.0], "undecided"),
        ([], [], "undecided"),
    ],
)
def test_rows_are_told_apart_only_beyond_their_spread(
    lower: list[float], higher: list[float], word: str
) -> None:
    assert order_of(lower, higher) == word


def test_neighbours_of_the_published_order_are_compared() -> None:
    rows = [row("c", 70.0, 3.0, 4.0), row("a", 40.0, 1.0, 2.0), row("x", None, 9.0, 9.0)]
    rows.append(row("b", 50.0, 5.0, 6.0))
    found = [(low.row.name, high.row.name, word) for low, high, word in compare(rows, "pixel_ap")]
    assert found == [("a", "b", "holds"), ("b", "c", "reversed")]


def test_missing_figures_are_left_out_of_the_means() -> None:
    one = {"image_auroc": 0.4, "pixel_ap": None, "psnr": 30.0}
    other = {"image_auroc": 0.6, "pixel_ap": None, "psnr": 20.0}
    models = ({"a": one, "c": other}, {"b": other})
    results = [
        {"figures": {"classes": {k: dict.fromkeys(FIGURES) | v for k, v in found.items()}}}
        for found in models
    ]
    found = SeedFigures.of(results, ["a", "b"])
    assert found.mean == {"image_auroc": pytest.approx(50.0)}
    assert list(found.classes) == ["a", "b"]


def test_the_page_shows_means_spread_and_what_is_missing() -> None:
    study = STUDIES["stages"]
    rows = empty(study)
    rows[1] = RowFigures(study.rows[1], (seed(image_auroc=60.0), seed(image_auroc=64.0)))
    missing = ["OmniAL (seed 0)"]
    text = study_page(study, rows, command="x", pictures={}, missing=missing, remarks="")
    assert "| baseline | `surrogate` | 2 | 62.0 (60.0 to 64.0) | - |" in text
    assert "86.7 / 86.4 / 44.2" in text
    assert "Not finished: OmniAL (seed 0)." in text
    # Nothing is compared with a row that has not run.
    assert "below" not in text


def test_remarks_survive_a_new_page(tmp_path: Path) -> None:
    def remarks_in(text: str) -> str:
        (tmp_path / "page.md").write_text(text, "utf-8")
        return remarks_on(tmp_path / "page.md")

    assert remarks_on(tmp_path / "none.md") == ""
    study = STUDIES["balance"]
    rows = empty(study)
    first = study_page(study, rows, command="x", pictures={}, missing=(), remarks="")
    assert remarks_in(first) == ""
    written = first.replace("begin -->\n", "begin -->\nTwo words.\n\nAnd more.\n")
    assert remarks_in(written) == "Two words.\n\nAnd more."
    again = study_page(
        study, rows, command="x", pictures={}, missing=(), remarks=remarks_in(written)
    )
    assert remarks_in(again) == remarks_in(written)


@pytest.mark.parametrize("name", STUDIES)
def test_charts_are_drawn_of_what_is_finished_and_always_the_same(name: str) -> None:
    study = STUDIES[name]
    assert chart(study, empty(study)) is None
    seeds = (seed(image_auroc=60.0, pixel_auroc=70.0), seed(image_auroc=64.0, pixel_auroc=71.0))
    rows = [RowFigures(study.rows[0], ()), *(RowFigures(r, seeds) for r in study.rows[1:])]
    first = chart(study, rows)
    assert first is not None
    assert first.startswith(b"\x89PNG")
    assert chart(study, rows) == first
