"""What a study's page says, and does not say."""

from pathlib import Path

import numpy as np
import pytest

from omnial.evaluation.result import FIGURES
from omnial.studies.row_figures import RowFigures, SeedFigures
from omnial.studies.study_page import remarks_on, study_page
from omnial.studies.study_pictures import chart
from omnial.studies.study_rows import STUDIES, Study

FACTS = {
    "separate": None,
    "images": 8,
    "size": "tiny",
    "data": {"roots": ["line"]},
    "machine": {"cores": 1, "cpu": "one", "torch": "2", "commit": "c0ffee"},
}


def seed(**mean: float) -> SeedFigures:
    classes = {"bolt": {"psnr": 27.0, "pixel_ap": mean.get("pixel_ap", 0.0) / 100}}
    validation = {"mean": {"erased": 0.71}}
    results = [{"validation": validation, "training_seconds": 60.0, **FACTS}]
    return SeedFigures(mean, classes, results, {})


def empty(study: Study) -> list[RowFigures]:
    return [RowFigures(row, ()) for row in study.rows]


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
    assert found.replicates == {}
    assert found.psnr == 25.0


def test_the_page_shows_means_spread_and_what_is_missing() -> None:
    study = STUDIES["stages"]
    rows = empty(study)
    rows[1] = RowFigures(study.rows[1], (seed(image_auroc=60.0), seed(image_auroc=64.0)))
    missing = ["OmniAL (seed 0)"]
    text = study_page(study, rows, command="x", pictures={}, missing=missing, remarks="")
    assert "| baseline | `surrogate` | 2 | 62.0 (60.0 to 64.0) | - | - | - | 27.0 | 0.71 |" in text
    assert "86.7 / 86.4 / 44.2" in text
    assert "Not finished: OmniAL (seed 0)." in text
    # Nothing is compared with a row that has not run.
    assert "below" not in text


def test_the_page_tells_neighbours_apart_and_marks_a_flat_reconstruction() -> None:
    study = STUDIES["modules"]
    rows = empty(study)
    for index, values in ((0, (20.0, 20.5)), (1, (50.0, 50.5))):
        seeds = []
        for value in values:
            one = seed(pixel_ap=value)
            resamples = {"pixel_ap": np.linspace(value - 0.5, value + 0.5, 300) / 100}
            seeds.append(one._replace(replicates={"bolt": resamples}))
        rows[index] = RowFigures(study.rows[index], seeds)
    text = study_page(study, rows, command="x", pictures={}, missing=(), remarks="")
    line = "| pixel AP | residual block below bottleneck | 60.0 and 62.5 | +30.0 | +28.5 to +31.5 |"
    assert f"{line} **holds** |" in text
    assert "beyond 1.5 (pixel AP) points" in text
    assert "plateau" not in text
    flat = [s._replace(classes={"bolt": {"psnr": 18.0, "pixel_ap": 0.2}}) for s in rows[0].seeds]
    rows[0] = RowFigures(study.rows[0], flat)
    text = study_page(study, rows, command="x", pictures={}, missing=(), remarks="")
    assert "| residual block, on the plateau | `omnial-resblock` |" in text
    assert "On the plateau: residual block." in text
    assert f"{line} **undecided: residual block on the plateau** |" in text


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


@pytest.mark.parametrize("name", ["stages", "balance", "budget"])
def test_charts_are_drawn_of_what_is_finished_and_always_the_same(name: str) -> None:
    study = STUDIES[name]
    assert chart(study, empty(study)) is None
    seeds = (seed(image_auroc=60.0, pixel_auroc=70.0), seed(image_auroc=64.0, pixel_auroc=71.0))
    rows = [RowFigures(study.rows[0], ()), *(RowFigures(r, seeds) for r in study.rows[1:])]
    first = chart(study, rows)
    assert first is not None
    assert first.startswith(b"\x89PNG")
    assert chart(study, rows) == first
