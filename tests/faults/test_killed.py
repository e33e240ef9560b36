"""Killed before every single change to a folder in turn, then run again to the end."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from omnial.calibration.calibrate_folder import calibrate_folder
from omnial.config.settings import Settings
from omnial.demo import run_demo as demo
from omnial.demo.production_line import CLASS_NAMES, MARKER, generate
from omnial.errors import UserError
from omnial.export import export_model as export_module
from omnial.files import SCRATCH
from omnial.inference.inspector import Inspector
from omnial.model_folder.export_folder import EXPORT_FILE
from omnial.model_folder.weights_file import load_model, save_model
from omnial.reporting import evaluation_report as report_module
from omnial.reporting.evaluation_report import evaluate
from omnial.reporting.prediction_report import predict
from omnial.robustness import build_set as set_builder
from omnial.robustness.build_set import SetPlan, build_set
from omnial.studies import trial as study_trial
from omnial.studies.study_rows import Row
from omnial.training.checkpoint import RunIdentity, what_is_computed
from omnial.training.fit import train
from tests.faults.breaking import Killed, dying, files, killed_everywhere

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")


def no_scratch(folder: Path) -> bool:
    return not [p for p in folder.rglob("*") if p.name.endswith(".part") or p.name == SCRATCH]


def test_training_goes_on_wherever_it_was_killed_at_first(
    model: Path, data: Path, settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    for at in range(8):
        with pytest.raises(Killed), dying(at):
            train(settings, [data], out, resume=True, progress=False)

    train(settings, [data], out, resume=True, progress=False)

    name = "model.safetensors"
    assert (out / name).read_bytes() == (model / name).read_bytes()
    assert no_scratch(out)


def test_a_model_is_the_old_one_the_new_one_or_refused(model: Path, tmp_path: Path) -> None:
    old = load_model(model, "cpu")
    new = replace(old, training={**old.training, "seed": 7}, network=load_model(model).network)
    with torch.no_grad():
        next(iter(new.network.parameters())).add_(1.0)
    save_model(tmp_path, old)
    before = files(tmp_path)
    refused = []

    def after() -> None:
        try:
            load_model(tmp_path, "cpu")
        except UserError:
            refused.append(files(tmp_path))
        else:
            assert len({found["config.json"] for found in (before, files(tmp_path))}) == 1

    # Before it makes the folder, and before either of the two files takes its place.
    assert killed_everywhere(lambda: save_model(tmp_path, new), after) == 3
    assert load_model(tmp_path, "cpu").training["seed"] == 7
    assert len(refused) == 1
    assert no_scratch(tmp_path)


def test_a_report_is_whole_and_its_files_of_one_evaluation(
    model: Path, data: Path, tmp_path: Path
) -> None:
    names = ("index.html", "metrics.csv", "metrics.json")
    out = tmp_path / "report"
    result = evaluate(model, [data], out)
    old = files(out)
    changed = replace(result, mean={**result.mean, "image_auroc": 0.125})
    mixed = []

    def after() -> None:
        found = {name: (out / name).read_bytes() for name in names}
        json.loads(found["metrics.json"])
        assert found["index.html"].rstrip().endswith(b"</html>")
        same = {name: found[name] == old[name] for name in names}
        mixed.append(len(set(same.values())) > 1)

    def page(result: Any, folder: Path) -> None:
        (folder / "index.html").write_text(f"{result.mean}</html>")

    with mock.patch.multiple(
        report_module, evaluate_folder=mock.Mock(return_value=changed), write_report=page
    ):
        killed = killed_everywhere(lambda: evaluate(model, [data], out), after)
    # Only between the three steps of putting it in place are there old files next to new ones.
    assert killed > sum(mixed) > 0
    assert json.loads((out / "metrics.json").read_text())["mean"]["image_auroc"] == 0.125
    assert sorted(files(out)) == sorted(names)


def test_a_set_ends_in_the_same_bytes(model: Path, data: Path, tmp_path: Path) -> None:
    plan = SetPlan(samples=2, steps=1, batch_size=1)
    build_set(model, [data], tmp_path / "undisturbed", plan)

    with mock.patch.object(set_builder, "load_model", return_value=load_model(model, "cpu")):
        assert killed_everywhere(lambda: build_set(model, [data], tmp_path / "set", plan)) >= 4

    undisturbed, found = files(tmp_path / "undisturbed"), files(tmp_path / "set")
    for manifest in (undisturbed, found):
        classes = json.loads(manifest.pop("manifest.json"))["classes"]
        manifest["classes"] = json.dumps(classes).encode()
    assert found == undisturbed


def test_predictions_stay_those_of_before_until_the_new_ones_are_there(
    model: Path, data: Path, tmp_path: Path
) -> None:
    images = sorted((data / CLASS_NAMES[0] / "test").glob("*/*.png"))[:2]
    # Scores are equal bit for bit in equal batches.
    inspector, out = Inspector(model, device="cpu", batch_size=1), tmp_path / "out"
    predict(inspector, images[:1], out=out)
    before = files(out)
    predict(inspector, images, out=tmp_path / "undisturbed")
    undisturbed = files(tmp_path / "undisturbed")

    def after() -> None:
        for name, content in files(out).items():
            if name in ("predictions.jsonl", "results.csv", "index.html"):
                assert content in (before[name], undisturbed[name])
            elif not name.startswith(SCRATCH):
                assert content == undisturbed[name]

    assert killed_everywhere(lambda: predict(inspector, images, out=out), after) > 8
    assert files(out) == undisturbed


def test_products_are_all_there_or_none(tmp_path: Path) -> None:
    out = tmp_path / "data"
    few: dict[str, Any] = {"classes": CLASS_NAMES[:1], "size": 64, "test_good": 0, "per_kind": 0}
    generate(out, seed=0, train=1, **few)
    generate(tmp_path / "undisturbed", seed=1, train=2, **few)
    undisturbed, old = files(tmp_path / "undisturbed"), files(out)

    def after() -> None:
        assert not out.exists() or files(out) in (old, undisturbed)

    assert killed_everywhere(lambda: generate(out, seed=1, train=2, **few), after) > 5
    assert files(out) == undisturbed
    assert (out / MARKER).is_file()
    assert sorted(os.listdir(tmp_path)) == ["data", "undisturbed"]


def test_a_calibrated_copy_is_whole_or_refused(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    calibration = calibrate_folder(model, [data], device="cpu").calibration

    def after() -> None:
        if (out / "config.json").exists():
            load_model(out, "cpu")

    def work() -> None:
        calibrate_folder(model, [data], device="cpu", out=out)

    inspector = Inspector(model, device="cpu")
    with mock.patch("omnial.calibration.calibrate_folder.Inspector", return_value=inspector):
        assert killed_everywhere(work, after) > 4
    assert load_model(out, "cpu").calibration == calibration
    assert no_scratch(out)


def test_a_calibrated_copy_takes_no_folder_with_files(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(UserError, match="not an empty folder"):
        calibrate_folder(model, [tmp_path], out=tmp_path)


class TestExport:
    """Files stand for the parts: what an engine makes of them plays no part in the order."""

    def folder(self, place: Path, content: str, names: tuple[str, ...]) -> Any:
        place.mkdir(parents=True)
        for name in (EXPORT_FILE, "config.json", *names):
            (place / name).write_text(f"{content} {name}")
        return mock.Mock(files=dict.fromkeys(names, "digest"))

    def test_parts_of_two_never_lie_below_the_record_of_the_older(self, tmp_path: Path) -> None:
        names = ("model.onnx", "arrays.safetensors", "samples.safetensors")
        out = tmp_path / "out"
        self.folder(out, "old", ("model.xml", "model.bin", *names[1:]))
        states = []

        def work() -> None:
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
            record = self.folder(tmp_path / "new", "new", names)
            export_module.put_in_place(tmp_path / "new", out, record)

        def after() -> None:
            states.append({name: text.split()[0] for name, text in files(out).items()})

        killed_everywhere(work, after)
        for state in states:
            if state[EXPORT_FILE] == b"old":
                assert set(state.values()) == {b"old"}
        assert {b"old", b"new"} <= {state[EXPORT_FILE] for state in states}
        assert sorted(files(out)) == sorted((EXPORT_FILE, "config.json", *names))


def test_a_demonstration_goes_on_from_an_older_ones_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run never resumes what is left of a run with other settings."""

    def train(settings: Settings, roots: object, model: Path, resume: bool) -> None:
        run = model / "checkpoints" / "run.json"
        identity = RunIdentity(
            settings=what_is_computed(settings),
            classes=list(CLASS_NAMES),
            images="",
            start=None,
        )
        wanted = identity.model_dump_json()
        assert (run.read_text() == wanted) if resume and run.exists() else not run.exists()
        run.parent.mkdir(parents=True, exist_ok=True)
        run.with_name("run.json.part").write_text(wanted)
        os.replace(run.with_name("run.json.part"), run)
        (model / "config.json").write_text(wanted)

    monkeypatch.setattr(demo, "train", train)
    monkeypatch.setattr(demo, "generate", lambda *_, **__: None)
    monkeypatch.setattr(demo, "evaluate", lambda *_: mock.Mock())
    demo.run_demo(tmp_path, quick=True, seed=0)
    first = (tmp_path / "model" / "config.json").read_text()

    assert killed_everywhere(lambda: demo.run_demo(tmp_path, quick=True, seed=1)) > 5
    assert (tmp_path / "model" / "config.json").read_text() != first
    assert no_scratch(tmp_path)


def test_a_finished_model_without_a_result_is_only_evaluated(
    model: Path, data: Path, settings: Settings, tmp_path: Path
) -> None:
    """As when someone has moved the result away, which its error message advises."""
    facts = {"roots": ["data"], "classes": list(CLASS_NAMES[:1]), "digest": ""}
    trial = study_trial.Trial(Row("row", "row", "omnial"), settings, (data,), None, "0" * 64, facts)
    work = tmp_path / "work"
    folder = study_trial.model_folder(trial, work)
    shutil.copytree(model, folder)
    shutil.rmtree(folder / "checkpoints")

    study_trial.run_trial(trial, tmp_path / "out", work, model=False, progress=False)

    result = study_trial.find_result(trial, tmp_path / "out")
    assert result is not None
    assert result["images"] == 12
