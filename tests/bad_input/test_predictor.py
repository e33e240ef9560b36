"""What a prediction makes of hostile files: each its row, and the others theirs."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.reporting.prediction_report import predict
from tests.bad_input.corpus import CASES
from tests.bad_input.outcomes import Read, Refused
from tests.serving.running_service import RedFinder, model_of

pytestmark = pytest.mark.filterwarnings("ignore")


def inspector() -> Inspector:
    return Inspector.of(model_of(RedFinder()))


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    lines = (out / "predictions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    named = {Path(row["path"]).name: row for row in rows}
    assert len(named) == len(rows)
    return named


def test_every_file_gets_its_row_and_sound_ones_their_verdict(corpus: Path, tmp_path: Path) -> None:
    summary = predict(inspector(), [corpus], out=tmp_path / "all")
    rows = rows_of(tmp_path / "all")

    read = {case.name for case in CASES if isinstance(case.predictor, Read)}
    refused = {case.name for case in CASES if isinstance(case.predictor, Refused)}
    assert set(rows) == read | refused | {"0000.png", "zzzz.png"}
    assert {bad.path.name for bad in summary.errors} == refused
    for case in CASES:
        if isinstance(case.predictor, Refused):
            row = rows[case.name]
            assert case.predictor.reason in row["error"]
            assert (row["score"], row["anomalous"], row["map"]) == (None, None, None)
        elif isinstance(case.predictor, Read):
            row = rows[case.name]
            assert row["error"] is None
            assert 0.0 <= row["score"] <= 1.0
            assert (tmp_path / "all" / row["map"]).is_file()
    assert len({row["map"] for row in rows.values()}) == len(rows) - len(refused) + 1

    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("0000.png", "zzzz.png"):
        shutil.copy(corpus / name, alone)
    predict(inspector(), [alone], out=tmp_path / "out")
    for name, row in rows_of(tmp_path / "out").items():
        beside = rows[name]
        assert {**row, "path": "", "map": ""} == {**beside, "path": "", "map": ""}
        first, second = tmp_path / "out" / row["map"], tmp_path / "all" / beside["map"]
        assert first.read_bytes() == second.read_bytes()


def test_files_that_are_named_outright(corpus: Path, tmp_path: Path) -> None:
    """What a search passes over is taken where it is named; a dead link does not end the run."""
    names = ("hidden.png.txt", ".hidden.png", "nowhere.png", "loop.png", "pipe.png")
    summary = predict(inspector(), [corpus / name for name in names], out=tmp_path)
    assert {bad.path.name for bad in summary.errors} == {"nowhere.png", "loop.png", "pipe.png"}
    assert summary.n_images == len(names)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "x/" * 5000, os.fsdecode(b"\xff")])
def test_a_name_that_cannot_be_one_is_a_mistake_of_the_user(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="No such file"):
        predict(inspector(), [tmp_path / name], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
