"""The results that are kept in the repository are those of today's settings and names."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from omnial.config.load import load_settings
from omnial.studies.results_store import SCHEMA, digest
from omnial.studies.robustness_study import ROWS, SURROGATE
from omnial.studies.study_rows import COMMON, STUDIES
from omnial.training.checkpoint import what_is_computed

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PLANNED = {name: study.rows for name, study in STUDIES.items()} | {"robustness": (SURROGATE, *ROWS)}
KEPT = sorted(path for name in PLANNED for path in (RESULTS / name).glob("*-seed*.json"))


def test_there_are_some() -> None:
    assert len(KEPT) > 15


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: path.stem)
def test_no_folder_of_a_machine_is_kept(path: Path) -> None:
    assert not re.search(r'"(/|[A-Z]:\\)', path.read_text("utf-8"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_command_would_find_it_and_not_train_again(path: Path) -> None:
    kept: dict[str, Any] = json.loads(path.read_text())
    (row,) = (row for row in PLANNED[path.parent.name] if row.name == kept["row"])
    settings = load_settings(
        system=row.system,
        size=kept["size"],
        overrides=[
            *COMMON,
            *row.overrides,
            f"training.seed={kept['seed']}",
            f"training.images={kept['images']}",
        ],
    )
    assert what_is_computed(settings) == kept["settings"]
    assert digest([SCHEMA, what_is_computed(settings), kept["data"]["digest"]]) == kept["key"]
    assert path.stem == f"{row.name}-seed{kept['seed']}-{kept['key'][:10]}"
