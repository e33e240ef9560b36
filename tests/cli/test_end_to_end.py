"""The whole way on two generated classes: train, look, evaluate, predict."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.files import locked
from omnial.model_folder.config_file import SCHEMA_VERSION
from omnial.training.checkpoint import RunIdentity, claim, read_identity

Run = Callable[..., Any]
CLASSES = CLASS_NAMES[:2]
SMALL = (
    *("--size", "tiny", "--set", "data.height=64", "--set", "data.width=64"),
    *("--set", "training.batch_size=2"),
)
KEYS = {
    *("image_auroc", "image_ap", "image_f1_max"),
    *("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "psnr", "ssim"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    generate(folder, seed=1, classes=CLASSES, size=64, train=6, test_good=2, per_kind=1)
    return folder


@pytest.fixture(scope="module")
def model(run: Run, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    ended = run(
        *("train", "--data", data, *SMALL, "--steps", 2, "--out", folder, "--json"),
        *("--set", "training.precision=fp32"),
    )
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)
    return folder


def test_the_model_is_a_folder(model: Path) -> None:
    config = json.loads((model / "config.json").read_text("utf-8"))

    assert config["schema_version"] == SCHEMA_VERSION
    assert config["classes"] == list(CLASSES)
    assert (model / "model.safetensors").is_file()


def test_the_list_of_runs(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    half = tmp_path / "runs" / "half"
    shutil.copytree(model, tmp_path / "runs" / "tiny")
    shutil.copytree(model / "checkpoints", half / "checkpoints")
    as_json, as_text = run("runs", tmp_path, "--json"), run("runs", tmp_path / "runs")

    assert (as_json.code, as_text.code) == (0, 0)
    runs = {Path(one["folder"]).name: one for one in json.loads(as_json.out)["runs"]}
    tiny, command = runs["tiny"], runs["half"]["command"]
    assert (tiny["state"], tiny["classes"], tiny["steps"]) == ("finished", list(CLASSES), 2)
    assert tiny["training_images"] == 10
    training = json.loads((model / "config.json").read_text("utf-8"))["training"]
    assert tiny["figures"] == training["validation"]["mean"]
    assert (tiny["system"], tiny["size"], tiny["command"]) == ("omnial", "tiny", None)
    assert runs["half"]["state"] == "unfinished"
    assert command.startswith(shlex.join(["omnial", "train", "--data", str(data), *SMALL]))
    assert " --steps 2 " in command
    assert command.endswith(" --resume")
    assert f"is not finished; go on with:\n  {command}\n" in as_text.out
    assert all(name in as_text.out for name in CLASSES)
    with locked(half):
        assert "half is being trained" in run("runs", half).out


def test_runs_that_cannot_be_read_and_none(run: Run, tmp_path: Path) -> None:
    assert run("runs", tmp_path)[:2] == (0, "no trained models there\n")
    assert run("runs", tmp_path / "nowhere").code == 2
    record = tmp_path / "broken" / "checkpoints" / "run.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    ended = run("runs", tmp_path, "--json")

    assert ended.code == 1
    (one,) = json.loads(ended.out)["runs"]
    assert (one["folder"], one["state"]) == (str(tmp_path / "broken"), "unreadable")
    assert "run.json" in one["reason"]


def test_the_command_that_goes_on_is_no_part_of_a_run(tmp_path: Path) -> None:
    first = RunIdentity(settings={}, classes=["a"], images="", start=None, command=["omnial", "a"])
    claim(tmp_path, first, resume=False)
    moved = first.model_copy(update={"command": ["omnial", "b"], "started_in": "/b"})

    assert claim(tmp_path, moved, resume=True) == moved
    assert read_identity(tmp_path) == moved


def test_info_of_the_model(run: Run, model: Path) -> None:
    as_json, as_text = run("info", model, "--json"), run("info", model)
    result = json.loads(as_json.out)

    assert (as_json.code, as_text.code) == (0, 0)
    assert result["classes"] == list(CLASSES)
    assert set(result["thresholds"]) == set(CLASSES)
    # Too few images to choose weights by: the usual ones.
    assert result["weights"] == {name: {"network": 2.0, "normality": 1.0} for name in CLASSES}
    rows = [line.split() for line in as_text.out.splitlines()]
    threshold = f"{result['thresholds'][CLASSES[0]]:.4f}"
    assert [CLASSES[0], threshold, "2.00", "1.00"] in rows
    assert result["parts"].keys() == {"module", "reconstruction", "localization"}
    assert result["size"] == "tiny"
    assert all(name in as_text.out for name in CLASSES)
    validation = result["training"]["validation"]
    assert set(validation["classes"]) == set(CLASSES)
    assert {"psnr", "erased"} <= set(validation["mean"])
    table = as_text.out.partition("erased")[2]
    for row in (*validation["classes"].values(), validation["mean"]):
        assert f"{row['psnr']:.1f}" in table.split()


def test_synthesize(run: Run, data: Path, tmp_path: Path) -> None:
    ended = run(
        *("synthesize", "--data", data, "--size", "tiny", "--count", 3, "--out", tmp_path / "s"),
        "--json",
    )

    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["samples"] == 3
    assert result["sheets"]
    for sheet in result["sheets"]:
        with Image.open(sheet) as image:
            assert image.width > 100


def test_evaluate(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"

    ended = run("evaluate", model, "--data", data, "--out", out, "--gallery", 1, "--json")
    metrics = json.loads(ended.out)

    assert ended.code == 0, ended.err
    assert metrics == json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["model"]["weights"].keys() == set(CLASSES)
    assert set(metrics["classes"]) == set(CLASSES)
    assert set(metrics["mean"]) == set(metrics["mean_over"]) == KEYS
    assert set(metrics["classes"][CLASSES[0]]) == KEYS | {"kinds"}
    assert 0 <= metrics["mean"]["image_auroc"] <= 1
    assert (out / "metrics.csv").is_file()
    assert "<html" in (out / "index.html").read_text("utf-8")


def test_evaluate_prints_a_row_for_each_class(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    ended = run("evaluate", model, "--data", data, "--out", tmp_path / "r", "--gallery", 0)

    assert ended.code == 0
    first_words = [line.split()[0] for line in ended.out.splitlines() if line.split()]
    counts = json.loads((tmp_path / "r" / "metrics.json").read_text("utf-8"))["verdicts"]
    assert ended.out.splitlines()[0] == (
        "found {found} of {defective} defects, {false_alarms} of {good} good parts alarmed"
    ).format(**counts)
    assert [word for word in first_words if word in {*CLASSES, "mean"}] == [*CLASSES, "mean"]
    assert str(tmp_path / "r" / "index.html") in ended.out.replace("\n", "")
    training = json.loads((model / "config.json").read_text("utf-8"))["training"]
    erased = training["validation"]["mean"]["erased"]
    (mean,) = [line.split() for line in ended.out.splitlines() if line.split()[:1] == ["mean"]]
    assert "validation" in ended.out
    assert mean[-1] == ("-" if erased is None else f"{erased:.3f}")


def test_bad_test_file(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / CLASSES[0] / "test" / "good"
    folder.mkdir(parents=True)
    good = data / CLASSES[0] / "test" / "good" / "000.png"
    (folder / "000.png").write_bytes(good.read_bytes())
    (folder / "001.png").write_bytes(good.read_bytes()[:100])
    command = ("evaluate", model, "--data", tmp_path / CLASSES[0], "--out", tmp_path / "r")

    refused, skipped = run(*command), run(*command, "--skip-bad-files")

    assert (refused.code, skipped.code) == (2, 1)
    assert "001.png" in refused.err
    assert "001.png" in skipped.err


def test_predict(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    Image.fromarray(noise).save(images / "noise.png")
    (images / "broken.png").write_bytes(b"not an image")
    normal = data / CLASSES[0] / "test" / "good" / "000.png"
    out = tmp_path / "out"

    ended = run("predict", model, images, normal, "--out", out, "--json")
    lines = (out / "predictions.jsonl").read_text("utf-8").splitlines()
    rows = {Path(row["path"]).name: row for row in map(json.loads, lines)}

    assert ended.code == 1
    result = json.loads(ended.out)
    assert result["images"] == 3
    assert sum(one["images"] for one in result["products"]) == 2
    assert "<html" in Path(result["page"]).read_text("utf-8")
    assert [Path(bad["path"]).name for bad in result["errors"]] == ["broken.png"]
    assert rows["broken.png"]["error"]
    assert rows["noise.png"]["error"] is None
    assert rows["noise.png"]["anomalous"] == (
        rows["noise.png"]["score"] > rows["noise.png"]["threshold"]
    )
    with Image.open(out / rows["noise.png"]["map"]) as heatmap:
        assert heatmap.size == (90, 50)
        assert np.asarray(heatmap).dtype == np.uint16


def test_predict_for_one_class(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    image = data / CLASSES[0] / "test" / "good" / "000.png"
    command = ("predict", model, image, "--out", tmp_path / "out")

    known = run(*command, "--class", CLASSES[1], "--coco", "--no-pictures")
    unknown = run(*command, "--class", "teapot")

    assert (known.code, unknown.code) == (0, 2)
    row = json.loads((tmp_path / "out" / "predictions.jsonl").read_text("utf-8"))
    assert row["class"] == CLASSES[1]
    assert known.out.splitlines()[1].split() == [CLASSES[1], "1", str(int(row["anomalous"]))]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("predictions.jsonl", "results.csv", "coco.json"),
    }
    assert "teapot" in unknown.err
    assert CLASSES[0] in unknown.err


def test_each_verb_ends_with_the_next_command_and_writes_below_runs(
    run: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = data / CLASSES[0] / "test" / "good"
    small = (*SMALL, "--steps", 1)

    ends = [
        run(*command).out.splitlines()[-1]
        for command in (
            ("train", "--data", data, *small),
            ("evaluate", model, "--data", data),
            ("predict", model, good),
            ("calibrate", model, "--data", data, "--out", tmp_path / "my line"),
            ("synthesize", "--data", data, "--size", "tiny", "--count", 1),
        )
    ]

    assert ends == [
        f"next: omnial evaluate runs/model --data {data}",
        f"next: omnial predict {model} new_pictures",
        f"next: omnial export {model} --format openvino",
        f"next: omnial predict '{tmp_path}/my line' new_pictures",
        f"next: omnial train --data {data} --minutes 30",
    ]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        *("model", "report", "predictions", "sheets"),
    }
    again = run("train", "--data", data, *small)
    assert (again.code, "holds a run already" in again.err) == (2, True)


def test_a_dry_run_reads_the_data_and_writes_nothing(run: Run, data: Path, tmp_path: Path) -> None:
    command = ("train", "--data", data, "--size", "tiny", "--out", tmp_path / "m", "--dry-run")

    found = json.loads(run(*command, "--steps", 70, "--json").out)

    assert found["classes"] == dict.fromkeys(CLASSES, 6)
    assert (found["size"], found["budget"]) == ("tiny", "70 steps")
    assert "budget   5 minutes" in run(*command, "--minutes", 5).out
    assert not (tmp_path / "m").exists()
    (tmp_path / "bad" / "train" / "good").mkdir(parents=True)
    (tmp_path / "bad" / "train" / "good" / "1.png").write_bytes(b"no picture")
    assert run("train", "--data", tmp_path / "bad", "--out", tmp_path / "m", "--dry-run").code == 2


def test_the_printed_settings_are_a_file_that_gives_the_same(
    run: Run, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    command = ("train", "--data", data, "--out", tmp_path / "m", "--print-config")

    first = run(*command, "--size", "base", "--system", "draem", "--minutes", 7)
    file.write_text(first.out, "utf-8")

    assert first.code == 0
    assert run(*command, "--config", file).out == first.out
    assert "minutes: 7" in first.out
    assert not (tmp_path / "m").exists()


def test_a_model_is_no_export_and_a_tile_is_no_speck(run: Run, model: Path, data: Path) -> None:
    verified = run("verify", model)
    assert (verified.code, f"omnial export {model} --format openvino" in verified.err) == (2, True)
    for command in (("predict", model, data), ("calibrate", model, "--data", data)):
        refused = run(*command, "--tile", 3)
        assert refused.code == 2
        assert "--tile" in refused.err


def test_the_last_mean_is_that_of_the_classes_above_it(
    run: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    one = run("evaluate", model, "--data", data / CLASSES[0], "--out", tmp_path / "report").out
    (row,) = (line.split() for line in one.splitlines() if line.startswith(CLASSES[0]))
    (mean,) = (line.split() for line in one.splitlines() if line.startswith("mean"))
    assert row[1:] == mean[1:]
