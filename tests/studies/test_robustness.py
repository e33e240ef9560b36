"""The robustness study end to end: every answer is kept, nothing is asked twice."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.data.layouts import discover
from omnial.demo.production_line import generate
from omnial.errors import UserError
from omnial.model_folder.weights_file import load_model
from omnial.models.normality_network import backends
from omnial.reporting import robustness_report as charts
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.corruptions import subset
from omnial.robustness.transfer import evaluate_on_set
from omnial.studies import robustness_study, run_trials
from omnial.studies import trial as trial_module
from omnial.studies.robustness_study import (
    ROWS,
    RobustnessOptions,
    RobustnessStudy,
    run_robustness_study,
)
from omnial.studies.run_study import PAGE
from omnial.studies.study_data import StudyData
from omnial.studies.trial import Trial
from tests.studies.small_runs import CLASSES, SMALL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")

ASKED = ("omnial",)
OPTIONS = RobustnessOptions(
    *("tiny", 4),
    overrides=SMALL,
    rows=ASKED,
    samples=2,
    white_box_samples=1,
    white_box_steps=1,
    corruption_images=2,
    gallery=False,
)
CHARTS = {"levels.png": charts.level_chart, "severities.png": charts.severity_chart}
ASKING = ("evaluate_on_set", "attack_white_box", "attack_verdicts", "evaluate_corrupted")


@pytest.fixture(scope="module", autouse=True)
def _charts_that_cost_nothing() -> Iterator[None]:
    """The page is written after every part, and drawing its charts takes seconds each time."""
    with pytest.MonkeyPatch.context() as patch:
        for chart in CHARTS.values():
            patch.setattr(charts, chart.__name__, lambda *_: b"no picture")
        yield


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    summary = run_robustness_study([data], folder / "out", folder / "work", OPTIONS, progress=False)
    # The set and four answers of one row; the three other rows were not asked for.
    assert (summary.computed, summary.kept, len(summary.missing)) == (5, 0, 12)
    assert list(summary.rows) == [row.label for row in ROWS if row.name in ASKED]
    assert set(summary.rows["OmniAL"]) == {"8t", "8", "4", "2", "1", "0"}
    return folder


def files(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


def never(*args: object, **kwargs: object) -> None:
    raise AssertionError("what is known was computed again")


def test_each_answer_is_one_file_that_tells_where_it_comes_from(finished: Path, data: Path) -> None:
    found = files(finished / "out")
    parts = [content for content in found.values() if "part" in content]
    assert sorted((p["row"], p["part"]) for p in parts) == sorted(
        [("surrogate", "set")]
        + [(r, p) for r in ASKED for p in ("transfer", "white-box", "verdicts", "corruptions")]
    )
    trained = [content["row"] for content in found.values() if "part" not in content]
    assert sorted(trained) == sorted([*ASKED, "surrogate"])
    (own,) = (p for p in parts if p["part"] == "set")
    on_set = [p for p in parts if p["part"] in ("transfer", "white-box")]
    assert {p["surrogate_sha256"] for p in on_set} == {own["weights_sha256"]}
    # Nothing of this machine's folders.
    assert str(data.parent) not in json.dumps(found)
    assert str(finished) not in json.dumps(found)


def test_the_figures_are_those_of_the_model_on_the_set(finished: Path) -> None:
    found = files(finished / "out")
    (run,) = (c for c in found.values() if c["row"] == "omnial" and "part" not in c)
    (part,) = (c for c in found.values() if c["row"] == "omnial" and c.get("part") == "transfer")
    (folder,) = (finished / "work" / "sets").iterdir()
    again = evaluate_on_set(
        backends(load_model(finished / "work" / run["key"][:16])), AdversarialSet(folder)
    )
    for level, figures in again.items():
        assert part["found"][level]["mean"] == pytest.approx(dict(figures.mean))
    page = (finished / "out" / PAGE).read_text("utf-8")
    values = " | ".join(
        f"{100 * again[level].mean['pixel_ap']:.1f}"  # type: ignore[operator]
        for level in ("8t", "8", "4", "2", "1", "0")
    )
    assert f"| OmniAL | Pixel AP, % | {values} |" in page


def test_the_page_shows_everything_with_the_published_averages_named_so(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chart in CHARTS.values():
        monkeypatch.setattr(charts, chart.__name__, chart)
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    RobustnessStudy(StudyData.of([data]), out, tmp_path, OPTIONS, progress=False).write_page()
    page = (out / PAGE).read_text("utf-8")
    assert page == (finished / "out" / PAGE).read_text("utf-8")
    for heading in (
        *("Is it an attack?", "Transfer", "White box", "Verdicts", "A worse camera"),
        *("Can an eye see it?", "Each class"),
    ):
        assert f"## {heading}" in page
    published = "| OmniAL, **as published** for MVTec AD | Pixel AP, % | 68.9 | 63.0 | 82.2 |"
    assert published in page
    visible = page.split("## Can an eye see it?")[1].split("##")[0]
    levels = re.findall(r"^\| (\S+) \|(?: [\d.]+ \|){4}$", visible, re.MULTILINE)
    assert levels == ["8t", "8", "4", "2", "1"]
    assert "DRAEM: transfer, DRAEM: white box" in page.split("Not finished: ")[1].split("\n")[0]
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    for name in CHARTS:
        assert f"]({name})" in page
        assert Image.open(out / name).width > 300


def test_what_is_known_is_not_computed_again_and_remarks_stay(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    page = (out / PAGE).read_text("utf-8")
    remarked = page.replace("begin -->\n", "begin -->\nThe order holds.\n", 1)
    (out / PAGE).write_text(remarked, "utf-8")
    for name in (*ASKING, "build_set"):
        monkeypatch.setattr(robustness_study, name, never)
    monkeypatch.setattr(trial_module, "train", never)
    summary = run_robustness_study([data], out, tmp_path / "work", OPTIONS, progress=False)
    assert (summary.computed, summary.kept) == (0, 5)
    assert (out / PAGE).read_text("utf-8") == remarked


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_lost_model_and_a_lost_set_are_made_again_where_they_are_needed(
    at_once: int,
    finished: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    (lost,) = out.glob("omnial-transfer-*.json")
    before = json.loads(lost.read_text("utf-8"))
    lost.unlink()
    monkeypatch.setattr(trial_module, "_evaluate", never)
    run, asked = robustness_study.run_trials, []

    def here(trials: Sequence[Trial], out: Path, work: Path, jobs: int, **options: Any) -> None:
        """Without processes of their own, which are slow to start."""
        asked.append(jobs)
        run(trials, out, work, **options)

    monkeypatch.setattr(robustness_study, "run_trials", here)
    for name in ASKING[1:]:
        monkeypatch.setattr(robustness_study, name, never)
    caplog.set_level("INFO", "omnial.studies")
    options = replace(OPTIONS, jobs=at_once)
    summary = run_robustness_study([data], out, tmp_path / "work", options, progress=False)
    assert summary.computed == 1
    assert set(asked) == {at_once}
    # One after the other, when they are needed; several at once, before all else.
    needed = ["training OmniAL, seed 0", "training surrogate, seed 0"]
    assert [line for line in caplog.messages if "training" in line] == needed[
        :: 1 if at_once == 1 else -1
    ]
    again = json.loads(lost.read_text("utf-8"))
    # On one machine the same training gives the same weights, and so the same figures.
    for key in ("weights_sha256", "surrogate_sha256", "found"):
        assert again[key] == before[key]


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"samples": 3}, {"set", "transfer", "white-box"}),
        ({"white_box_samples": 2}, {"white-box", "verdicts"}),
        ({"white_box_steps": 3}, {"white-box", "verdicts"}),
        ({"corruption_images": 4}, {"corruptions"}),
        ({"images": 6}, {"set", "transfer", "white-box", "verdicts", "corruptions"}),
    ],
)
def test_a_harder_question_is_another_question(
    finished: Path, data: Path, tmp_path: Path, change: dict[str, int], changed: set[str]
) -> None:
    keys = []
    for options in (OPTIONS, replace(OPTIONS, **change)):
        study = RobustnessStudy(StudyData.of([data]), tmp_path, tmp_path, options, progress=False)
        keys.append({"set": study.set_part.key})
        parts = [part for part in study.parts.values() if part.trial.row.name == "omnial"]
        keys[-1] |= {part.question: part.key for part in parts}
    assert {name for name in keys[0] if keys[0][name] != keys[1][name]} == changed


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": 1, "key": "0"}'])
def test_a_file_that_is_no_answer_is_refused(
    finished: Path, data: Path, tmp_path: Path, content: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    (part,) = out.glob("omnial-verdicts-*.json")
    part.write_text(content, "utf-8")
    with pytest.raises(UserError, match="move it away"):
        run_robustness_study([data], out, tmp_path / "work", OPTIONS, progress=False)


def test_an_unknown_row_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="draem, jnld, omnial"):
        run_robustness_study(
            [data], tmp_path / "out", tmp_path, replace(OPTIONS, rows=("drem",)), progress=False
        )


def test_the_two_figures_show_the_demo_data(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(folder: Path, seed: int) -> None:
        generate(folder, seed=seed, classes=CLASSES, size=64, train=6, test_good=1, per_kind=1)

    rows = tuple(row for row in ROWS if row.name in ASKED)
    monkeypatch.setattr(run_trials, "generate", small)
    monkeypatch.setattr(robustness_study, "ROWS", rows)
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    summary = run_robustness_study(
        [data], folder / "out", folder / "work", replace(OPTIONS, gallery=True), progress=False
    )
    assert (summary.computed, summary.missing) == (0, [])
    page = (folder / "out" / PAGE).read_text("utf-8")
    for name in ("targeted.jpg", "levels.jpg"):
        assert f"]({name})" in page
        pixels = np.asarray(Image.open(folder / "out" / name))
        assert pixels.std() > 10


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_few_test_images_are_half_good_and_of_every_part(data: Path, most: int) -> None:
    product = discover([data], need="test").classes[0]
    few = subset(product, most)
    assert len(few.test) <= most
    assert set(few.test) <= set(product.test)
    assert len(set(few.test)) == len(few.test)
    good = [r for r in few.test if not r.anomalous]
    assert len(good) == min(most // 2, sum(not r.anomalous for r in product.test))
    if most == 100:
        assert sorted(few.test, key=str) == sorted(product.test, key=str)
