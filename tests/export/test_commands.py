"""The verbs from end to end: export, verify, predict, evaluate, calibrate, drift."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from omnial.cli import app
from omnial.model_folder.config_file import read_config
from omnial.model_folder.export_folder import Format


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def result_of(ended: Result) -> Any:
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_export_and_verify(model_dir: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("export", model_dir, "--format", "openvino", "--precision", "fp32", "--out", out)
    shown = run(*command).stdout
    assert f"{out} inspects in fp32, with openvino 2" in shown
    assert "0.0 % of the verdicts differ; 0 % may" in shown
    assert "This is good" in shown
    assert "{" not in shown
    found = result_of(run(*command, "--data", data, "--json"))
    assert found["folder"] == str(out)
    assert found["gate"]["passed"]
    assert found["gate"]["images"] == "data"
    assert found == {"folder": str(out), **json.loads((out / "export.json").read_text())}
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "export.json", "model.xml", "model.bin"),
        *("arrays.safetensors", "samples.safetensors"),
    }
    assert result_of(run("verify", out, "--json"))["passed"]
    shown = run("verify", out)
    assert "This is good" in shown.stdout
    (out / "model.bin").write_bytes(b"")
    assert run("verify", out).exit_code == 2


def test_mistakes(model_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bf16 = run("export", model_dir, "--format", "onnx", "--precision", "bf16", "--out", out)
    assert (bf16.exit_code, "bf16" in bf16.stderr) == (2, True)
    assert run("verify", model_dir).exit_code == 2
    rate = run("calibrate", model_dir, "--data", tmp_path, "--false-alarm-rate", "1.5")
    assert (rate.exit_code, "false-alarm-rate" in rate.stderr) == (2, True)


def test_predict_and_evaluate_give_the_same_with_either_folder(
    model_dir: Path, exports: dict[Format, Path], data: Path, tmp_path: Path
) -> None:
    rows, figures = [], []
    for index, folder in enumerate((model_dir, *exports.values())):
        out = tmp_path / str(index)
        assert run("predict", folder, data / "tile/test", "--out", out).exit_code == 0
        lines = (out / "predictions.jsonl").read_text().splitlines()
        rows.append([json.loads(line) for line in lines])
        evaluated = run("evaluate", folder, "--data", data, "--out", out / "report", "--json")
        figures.append(result_of(evaluated)["mean"])
    for other in rows[1:]:
        for one, expected in zip(other, rows[0], strict=True):
            assert one["score"] == pytest.approx(expected["score"], abs=1e-4)
            assert one["anomalous"] == expected["anomalous"]
            assert one["map"] == expected["map"]
    for other in figures[1:]:
        for key in ("pixel_auroc", "pixel_ap", "aupro"):
            assert other[key] == pytest.approx(figures[0][key], abs=1e-3)


def test_calibrate_then_drift(exports: dict[Format, Path], data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "export"))
    command = ("calibrate", folder, "--data", data, "--json", "--false-alarm-rate", "0.2")
    trained = sorted((data / "bolt/train/good").iterdir())[2:]
    digests = frozenset(hashlib.sha256(path.read_bytes()).digest()[:8] for path in trained)
    untouched = read_config(folder)
    config = untouched.model_copy(update={"trained_files": digests})
    (folder / "config.json").write_text(config.to_text())
    ended = run(*command)
    found = result_of(ended)
    assert found["used"] == {"bolt": 2, "tile": 10}
    assert found["trained"] == {"bolt": 8, "tile": 0}
    assert "bolt: 8 images left out, the network was trained on them" in ended.stderr
    assert {name: row["images"] for name, row in found["classes"].items()} == {
        "bolt": 2,
        "tile": 10,
    }
    assert found["classes"]["bolt"]["own"] is False
    assert any("bolt" in text for text in found["warnings"])
    (folder / "config.json").write_text(untouched.to_text())
    everything = result_of(run(*command))
    assert everything["overall"]["images"] == 20
    shown = run("calibrate", folder, "--data", data / "tile", "--out", tmp_path / "copy")
    assert shown.exit_code == 0
    assert "tile" in shown.stdout
    assert run("verify", tmp_path / "copy").exit_code == 0

    same = result_of(run("drift", folder, "--data", data, "--json"))
    assert not same["drifted"]
    assert same["classes"]["tile"]["p_value"] == 1.0
    recent = tmp_path / "recent/tile/train/good"
    recent.mkdir(parents=True)
    for index in range(10):
        squares = np.random.default_rng(index).integers(0, 2, (8, 12, 1))
        pixels = np.kron(255 * squares, np.ones((8, 8, 3), int)).astype(np.uint8)
        Image.fromarray(pixels).save(recent / f"{index}.png")
    (recent / "broken.png").write_bytes(b"?")
    changed = run("drift", folder, "--data", tmp_path / "recent", "--json")
    assert changed.exit_code == 1
    assert json.loads(changed.stdout)["classes"]["tile"]["different"]
    assert "broken.png" in changed.stderr
    shown = run("drift", folder, "--data", tmp_path / "recent").stdout
    assert "scores differ" in shown
    assert "omnial calibrate MODEL --data RECENT" in shown
