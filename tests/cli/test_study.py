"""`omnial study`: names checked, rows left out, tables written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnial.data.listing import image_files
from omnial.studies import robustness_study
from omnial.studies.robustness_study import RobustnessOptions
from omnial.studies.run_study import PAGE, StudySummary
from omnial.studies.study_data import DATA_VARIABLE
from tests.studies.small_runs import SMALL, make_products

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")

GALLERY = "gallery.jpg"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_products(tmp_path_factory.mktemp("study") / "line")


def test_the_command_line(
    run: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(data.parent))
    settings = [part for text in SMALL for part in ("--set", text)]
    common = ["--data", data.name, "--out", tmp_path / "out", "--work", tmp_path / "work"]
    common += ["--size", "tiny", "--images", 4, "--seeds", 1, "--no-gallery", *settings]
    wrong = run("study", "stage", *common)
    assert wrong.code == 2
    assert "stages" in wrong.err
    budget = run("study", "budget", *common)
    assert budget.code == 2
    assert "omit --images" in budget.err
    partly = run("study", "modules", *common, "--row", "dcsa", "--json")
    assert partly.code == 1
    summary = json.loads(partly.out)
    others = [f"{module} (seed 0)" for module in ("residual block", "bottleneck", "CA")]
    assert (summary["computed"], summary["missing"]) == (1, others)
    whole = run("study", "modules", *common)
    assert whole.code == 0
    assert "residual block" in whole.out
    assert not (tmp_path / "out" / GALLERY).exists()
    assert (tmp_path / "work" / f"modules-{GALLERY}").is_file()
    assert len(list((tmp_path / "out").glob("*.json"))) == 4
    for folder, picture in (("out", "chart.png"), ("work", f"modules-{GALLERY}")):
        assert (tmp_path / folder / picture).is_file()
        assert image_files(tmp_path / folder) == []  # results are no data


def test_the_robustness_study(
    run: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def study(*arguments: object) -> StudySummary:
        asked.extend(arguments)
        return StudySummary(tmp_path / PAGE, {"OmniAL": {"8t": [1.5]}}, 5, 0, ["DRAEM: transfer"])

    monkeypatch.setattr(robustness_study, "run_robustness_study", study)
    settings = [part for text in SMALL for part in ("--set", text)]
    common = ["--data", data, "--out", tmp_path / "out", "--work", tmp_path / "work"]
    common += ["--size", "tiny", "--images", 4, "--jobs", 6, *settings]
    small = ["--samples", 2, "--white-box-samples", 1, "--white-box-steps", 3]
    small += ["--corruption-images", 5, "--no-gallery", "--row", "omnial"]
    seeds = run("study", "robustness", *common, *small, "--seeds", 2)
    assert seeds.code == 2
    assert "one seed" in seeds.err
    assert not asked
    found = run("study", "robustness", *common, *small, "--json")
    assert found.code == 1
    options = RobustnessOptions(
        *("tiny", 4),
        overrides=SMALL,
        rows=("omnial",),
        gallery=False,
        jobs=6,
        samples=2,
        white_box_samples=1,
        white_box_steps=3,
        corruption_images=5,
    )
    assert asked == [[data], tmp_path / "out", tmp_path / "work", options]
    summary = json.loads(found.out)
    assert (summary["computed"], summary["missing"]) == (5, ["DRAEM: transfer"])
    assert summary["rows"] == {"OmniAL": {"8t": [1.5]}}
    assert "not finished: DRAEM: transfer" in found.err
