"""`omnial attack` and `omnial robustness` from end to end with tiny models."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnial.data.listing import image_files
from omnial.demo.production_line import CLASS_NAMES, generate

Run = Callable[..., Any]
CLASSES = CLASS_NAMES[:2]
PUBLISHED = ("68.9", "63.0", "82.2", "95.6", "98.1")  # pixel AP of OmniAL at 8t, 8, 4, 2, 1

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    generate(folder, seed=1, classes=CLASSES, size=64, train=6, test_good=2, per_kind=1)
    return folder


@pytest.fixture(scope="module")
def models(run: Run, data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    for system in ("surrogate", "omnial"):
        ended = run(
            *("train", "--data", data, "--system", system, "--size", "tiny", "--steps", 4),
            *("--set", "training.batch_size=4", "--set", "training.precision=fp32"),
            *("--set", "data.height=64", "--set", "data.width=64", "--out", folder / system),
        )
        assert ended.code == 0, ended.err
    return [folder / "surrogate", folder / "omnial"]


@pytest.fixture(scope="module")
def made(
    run: Run, data: Path, models: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("sets") / "set"
    command = ("attack", models[0], "--data", data, "--samples", 2, "--out", folder, "--json")
    ended = run(*command)
    assert ended.code in (0, 1), ended.err
    result = json.loads(ended.out)
    # A barely trained model may fail a check; then the exit code says so.
    assert ended.code == int(any(not check["passed"] for check in result["checks"]))
    return folder, result


def test_attack(made: tuple[Path, Any], run: Run, data: Path, models: list[Path]) -> None:
    folder, result = made

    assert (result["samples"], result["classes"]) == (4, list(CLASSES))
    assert result["levels"] == ["8t", "8", "4", "2", "1"]
    assert sorted(path.stem for path in folder.glob("*.safetensors")) == sorted(CLASSES)
    command = ("attack", models[0], "--data", data, "--out", folder)
    again, other = run(*command, "--samples", 2), run(*command, "--samples", 3)
    assert again.code in (0, 1)
    assert "gradients are not zero" in again.out
    assert other.code == 2
    assert "samples differ" in other.err


def test_robustness(
    made: tuple[Path, Any], run: Run, data: Path, models: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "report"

    ended = run(
        *("robustness", made[0], models[1], "--out", out, "--white-box-samples", 1, "--json"),
        *("--white-box-steps", 1, "--data", data),
    )

    assert ended.code in (0, 1), ended.err
    result = json.loads(ended.out)
    assert result == json.loads((out / "robustness.json").read_text("utf-8"))
    assert ended.code == int(bool(result["failed"]))
    assert list(result["models"]) == ["omnial"]
    model = result["models"]["omnial"]
    assert set(model["transfer"]) == {"0", "8t", "8", "4", "2", "1"}
    assert set(model["white_box"]["levels"]) == {"0", "8", "4", "2", "1"}
    assert set(model["verdicts"]["levels"]) == {"0", "8", "4", "2", "1"}
    assert len(model["white_box"]["checks"]) == 5
    for level in model["transfer"].values():
        assert set(level["classes"]) == set(CLASSES)
        assert 0 <= level["mean"]["pixel_ap"] <= 1
    with (out / "robustness.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (6 + 5) * 3
    page = (out / "index.html").read_text("utf-8")
    for words in ("as published", "22.3", "23.2", "Is it an attack?", "White box", "omnial"):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (out / "targeted.png").is_file()
    assert (out / "levels.png").is_file()
    assert image_files(out) == []  # results are no data


def test_corruptions_without_white_box(
    made: tuple[Path, Any], run: Run, data: Path, models: list[Path], tmp_path: Path
) -> None:
    one = tmp_path / "data"
    (one / CLASSES[0]).parent.mkdir()
    (one / CLASSES[0]).symlink_to(data / CLASSES[0])
    command = ("robustness", made[0], models[1], "--no-white-box", "--corruptions")

    ended = run(*command, "--data", one, "--out", tmp_path / "report")
    refused = run(*command, "--out", tmp_path / "other")
    without_use = run(*command[:-1], "--data", one, "--out", tmp_path / "other")

    assert ended.code in (0, 1), ended.err
    assert "pixel AP at" in ended.out
    result = json.loads((tmp_path / "report" / "robustness.json").read_text("utf-8"))
    model = result["models"]["omnial"]
    assert model["white_box"] is None
    assert len(model["corruptions"]) == 8
    assert set(model["corruptions"]["jpeg"]) == {"0", "1", "2", "3", "4", "5"}
    assert "Common corruptions" in (tmp_path / "report" / "index.html").read_text("utf-8")
    assert model["verdicts"] is None
    assert "verdicts on the test images were not attacked" in ended.err
    assert refused.code == 2
    assert "--data" in refused.err
    assert without_use.code == 2
    assert "--no-white-box" in without_use.err
    assert not (tmp_path / "other").exists()


def test_two_models_in_the_order_given(
    made: tuple[Path, Any], run: Run, models: list[Path], tmp_path: Path
) -> None:
    ended = run("robustness", made[0], *models, "--no-white-box", "--out", tmp_path / "report")

    assert ended.code in (0, 1), ended.err
    rows = [line.split()[0] for line in ended.out.splitlines() if "transfer" in line]
    assert rows == ["surrogate", "omnial"]
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert "Common corruptions" not in page
    # Beside the means: a surrogate has no published average, OmniAL has one at each level.
    beside = page.partition("average of MVTec AD as published</th>")[2].partition("</tr>")[0]
    assert re.findall(r">([^<>]+)</td>", beside) == [*"\u2014" * 6, *PUBLISHED, "\u2014"]


def test_what_does_not_fit_is_refused(
    made: tuple[Path, Any], run: Run, data: Path, models: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "larger"
    trained = run(
        *("train", "--data", data, "--size", "tiny", "--steps", 1, "--out", other),
        *("--set", "training.batch_size=2", "--set", "data.height=96", "--set", "data.width=96"),
    )
    assert trained.code == 0, trained.err

    larger = run("robustness", made[0], other, "--out", tmp_path / "r")
    twice = run("robustness", made[0], models[0], models[0], "--out", tmp_path / "r")
    nothing = run("robustness", tmp_path / "none", models[0], "--out", tmp_path / "r")
    negative = run("attack", models[0], "--data", data, "--out", tmp_path / "s", "--alpha", -1)

    assert [larger.code, twice.code, nothing.code, negative.code] == [2, 2, 2, 2]
    assert "96 x 96" in larger.err
    assert "twice" in twice.err
    assert "manifest.json" in nothing.err
    assert "--alpha" in negative.err
    assert not (tmp_path / "r").exists()
