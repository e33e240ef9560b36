"""A study end to end: equal budgets, nothing computed twice, nothing mixed up."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnial.data.layouts import discover
from omnial.errors import UserError
from omnial.evaluation.evaluate import evaluate_model
from omnial.model_folder.weights_file import load_model
from omnial.studies import trial as trial_module
from omnial.studies.row_figures import from_text
from omnial.studies.run_study import CHART, PAGE, run_study
from omnial.studies.study_data import DATA_VARIABLE, StudyData, class_digests, find_roots, name_of
from omnial.studies.study_pictures import pick
from omnial.studies.study_rows import Row, Study, StudyOptions
from omnial.studies.trial import RESAMPLES
from tests.studies.small_runs import CLASSES, SMALL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")

STUDY = Study(
    "two",
    "Two rows",
    "Which?",
    (Row("omnial", "OmniAL", "omnial"), Row("alone", "separate", "draem", separate=True)),
    seeds=1,
)
OPTIONS = StudyOptions("tiny", images=8, seeds=1, overrides=SMALL, gallery=False)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_study(STUDY, [data], folder / "out", folder / "work", OPTIONS, progress=False)
    return folder


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}


def never(*args: object, **kwargs: object) -> None:
    raise AssertionError("a finished run was computed again")


def test_each_run_leaves_one_file_and_the_budget_is_shared_out(finished: Path, data: Path) -> None:
    found = list(results(finished / "out").values())
    assert [r["row"] for r in found].count("omnial") == 1
    separate = [r for r in found if r["row"] == "alone"]
    assert sorted(r["separate"] for r in separate) == sorted(CLASSES)
    assert {r["images"] for r in separate} == {4}
    (unified,) = (r for r in found if r["row"] == "omnial")
    assert unified["images"] == 8
    assert unified["settings"]["synthesis"]["match_colour"] is True
    # Nothing of this machine's folders.
    assert str(data.parent) not in json.dumps(found)
    assert not list((finished / "work").glob("*/checkpoints"))


def test_the_figures_are_those_of_the_model(finished: Path, data: Path) -> None:
    (unified,) = (r for r in results(finished / "out").values() if r["row"] == "omnial")
    model = load_model(finished / "work" / unified["key"][:16])
    again = evaluate_model(model, discover([data], need="test"))
    assert unified["figures"]["mean"] == pytest.approx(dict(again.mean))
    for name, texts in unified["replicates"].items():
        assert set(texts) == {"image_auroc", "pixel_auroc", "pixel_ap"}
        figures = unified["figures"]["classes"][name]
        for metric, text in texts.items():
            values = from_text(text)
            assert values.shape == (RESAMPLES,)
            assert values.min() - 1e-3 <= figures[metric] <= values.max() + 1e-3
    page = (finished / "out" / PAGE).read_text("utf-8")
    auroc = 100 * unified["figures"]["mean"]["image_auroc"]
    assert f"| OmniAL, on the plateau | `omnial` | 1 | {auroc:.1f} |" in page


def test_a_separate_row_is_the_mean_of_its_models(finished: Path) -> None:
    found = [r for r in results(finished / "out").values() if r["row"] == "alone"]
    values = [figures["image_auroc"] for r in found for figures in r["figures"]["classes"].values()]
    page = (finished / "out" / PAGE).read_text("utf-8")
    assert (
        f"| separate, on the plateau | `draem` | 1 | {100 * sum(values) / len(values):.1f} |"
        in page
    )


def test_what_is_finished_is_not_computed_again(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    monkeypatch.setattr(trial_module, "train", never)
    summary = run_study(STUDY, [data], out, tmp_path / "work", OPTIONS, progress=False)
    assert (summary.computed, summary.kept, summary.missing) == (0, 3, [])
    assert (out / PAGE).read_bytes() == (finished / "out" / PAGE).read_bytes()


def test_another_study_takes_over_equal_runs(
    finished: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "train", never)
    other = Study("other", "Other", "?", (Row("dcsa", "DCSA", "omnial"),), seeds=1)
    summary = run_study(
        other, [data], finished / "other", finished / "work2", OPTIONS, progress=False
    )
    assert summary.kept == 1
    (copied,) = results(finished / "other").values()
    assert copied["row"] == "dcsa"


@pytest.mark.parametrize("change", ["seed", "budget", "setting", "data"])
def test_any_other_run_has_another_key(change: str, data: Path, tmp_path: Path) -> None:
    place, seed, images, overrides = data, 0, 8, SMALL
    if change == "data":
        place = tmp_path / "line"
        shutil.copytree(data, place)
        mask = next(place.glob("*/ground_truth/*/*.png"))
        mask.write_bytes(next(p for p in place.glob("*/train/good/*.png")).read_bytes())
    elif change == "seed":
        seed = 1
    elif change == "budget":
        images = 10
    else:
        overrides = (*SMALL, "training.learning_rate=1e-5")
    keys = []
    for root, count, number, given in ((data, 8, 0, SMALL), (place, images, seed, overrides)):
        (trial,) = trial_module.plan_trials(
            STUDY.rows[0], StudyData.of([root]), StudyOptions("tiny", count, 1, given), number
        )
        keys.append(trial.key)
    assert keys[0] != keys[1]


def test_a_row_has_its_own_budget_where_it_names_one(data: Path, tmp_path: Path) -> None:
    rows = tuple(replace(STUDY.rows[0], name=f"n{count}", images=count) for count in (6, 10))
    study, source = Study("budgets", "Budgets", "?", rows), StudyData.of([data])
    trials = [trial for row in rows for trial in trial_module.plan_trials(row, source, OPTIONS)]
    assert [trial.settings.training.images for trial in trials] == [6, 10]
    one = replace(OPTIONS, rows=("n6",))
    summary = run_study(study, [data], tmp_path / "out", tmp_path / "work", one, progress=False)
    assert summary.missing == ["OmniAL (seed 0)"]
    page = summary.page.read_text("utf-8")
    assert "--seeds 1" in page
    assert "--images" not in page
    assert (tmp_path / "out" / CHART).is_file()


def test_the_key_does_not_depend_on_where_the_data_lie(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "elsewhere")
    here, there = (
        class_digests(discover([root], need="test")) for root in (data, tmp_path / "elsewhere")
    )
    assert here == there


def test_a_run_cut_short_goes_on(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study("one", "One", "?", STUDY.rows[:1], seeds=1)
    before = trial_module.evaluate_model

    def cut(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial_module, "evaluate_model", cut)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, [data], tmp_path / "out", tmp_path / "work", OPTIONS, progress=False)
    assert not results(tmp_path / "out")
    monkeypatch.setattr(trial_module, "evaluate_model", before)
    run_study(study, [data], tmp_path / "out", tmp_path / "work", OPTIONS, progress=False)
    (resumed,) = results(tmp_path / "out").values()
    (whole,) = (r for r in results(finished / "out").values() if r["row"] == "omnial")
    assert resumed["figures"] == whole["figures"]


def test_a_file_that_is_no_result_is_refused_and_left_alone(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished / "out", out)
    broken = next(out.glob("omnial-*.json"))
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=broken.name):
        run_study(STUDY, [data], out, tmp_path / "work", OPTIONS, progress=False)
    assert broken.read_text("utf-8") == "{"


def test_rows_classes_and_roots_are_checked_by_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, words in (
        (StudyOptions("tiny", 8, 1, SMALL, rows=("omnail",)), "no row omnail"),
        (StudyOptions("tiny", 8, 1, SMALL, classes=("screw",)), "no class screw"),
    ):
        with pytest.raises(UserError, match=words):
            run_study(STUDY, [data], tmp_path / "out", tmp_path / "work", options)
    monkeypatch.setenv(DATA_VARIABLE, str(data.parent))
    assert find_roots([Path(data.name)]) == [data]
    assert name_of(data) == data.name
    assert name_of(data / CLASSES[0]) == f"{data.name}/{CLASSES[0]}"
    with pytest.raises(UserError, match="nowhere"):
        find_roots([Path("nowhere")])
    monkeypatch.delenv(DATA_VARIABLE)
    assert name_of(data) == data.name


def test_a_gallery_shows_every_class_and_different_kinds(data: Path) -> None:
    catalogue = discover([data], need="test")
    chosen = pick(catalogue, 4)
    assert [r.class_name for r in chosen] == [*catalogue.names, *catalogue.names]
    assert all(r.anomalous and r.mask for r in chosen)
    assert len({(r.class_name, r.kind) for r in chosen}) == 4
    assert pick(catalogue, 4) == chosen
