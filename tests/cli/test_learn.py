"""`omnial add` and `omnial learn` as a user runs them: what is printed, and the exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnial.demo.production_line import generate
from omnial.model_folder.weights_file import save_model
from omnial.serving.findings import Finding
from omnial.serving.history import History
from omnial.serving.replies import InspectionReply
from tests.small_model import untrained

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts") / "data"
    generate(root, seed=2, classes=["gear"], size=64, train=6, test_good=1, per_kind=1)
    return root / "gear"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(folder, untrained(["bolt", "nut"]))
    return folder


def test_add_prints_the_product_and_what_it_costs(
    run: Run, parts: Path, model: Path, tmp_path: Path
) -> None:
    arguments = ("add", model, "--data", parts, "--device", "cpu", "--out")
    shown, printed = run(*arguments, tmp_path / "a"), run(*arguments, tmp_path / "b", "--json")

    assert (shown.code, printed.code) == (0, 0)
    assert "gear" in shown.out
    assert "not trained on the new" in shown.out
    assert "--init" in shown.out
    assert "1 images held out are too few for a false-alarm rate of 0.4" in shown.err
    result = json.loads(printed.out)
    assert result["folder"] == str(tmp_path / "b")
    assert (result["products"]["gear"]["images"], result["products"]["gear"]["own"]) == (5, False)
    assert run("info", tmp_path / "a").code == 0

    again = run("add", tmp_path / "a", "--data", parts, "--out", tmp_path / "c")
    assert (again.code, again.out) == (2, "")
    assert "knows gear already" in again.err


def test_learn_prints_a_row_for_each_product(
    run: Run, parts: Path, model: Path, tmp_path: Path
) -> None:
    pictures = sorted((parts / "train/good").iterdir())
    history = History(tmp_path / "h.sqlite", days=1e6, megabytes=10, clock=lambda: 1e9)
    for path, class_name, review in zip(
        pictures, ("bolt", "nut", "disc"), ("false_alarm", "missed", "missed"), strict=False
    ):
        reply = InspectionReply(
            id=None,
            name=path.name,
            sha256="ab" * 32,
            class_name=class_name,
            score=0.5,
            threshold=0.2,
            anomalous=True,
            outlines=[],
            suspects=None,
            width=64,
            height=64,
            map=None,
        )
        number = history.add(Finding(reply, b"map", b"small", path.read_bytes()), "model")
        history.review(number, review)  # type: ignore[arg-type]
    history.close()

    arguments = ("learn", model, tmp_path / "h.sqlite", "--device", "cpu", "--out")
    shown, printed = run(*arguments, tmp_path / "a"), run(*arguments, tmp_path / "b", "--json")

    assert (shown.code, printed.code) == (0, 0)
    assert "2 001.png" in shown.out
    assert "1 reviews of products that the model does not know left out" in shown.err
    result = json.loads(printed.out)
    assert result["products"]["bolt"]["false_alarms"] == 1
    assert [one["name"] for one in result["products"]["nut"]["missed"]] == ["001.png"]

    absent = run("learn", model, tmp_path / "none", "--out", tmp_path / "c")
    assert (absent.code, absent.out) == (2, "")
    assert "no such file" in absent.err
