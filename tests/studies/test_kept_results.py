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
BEFORE = "difference_windows"
"""A setting of DiffNeck that is gone: rows with it are of an earlier network."""
WITH_ADAM = ("training.optimizer=adam", "training.learning_rate=0.002")
"""What makes a run of residual blocks that of the time before Muon."""
EARLIER = (
    "training.optimizer=adam",
    "data.geometry=squash",
    "model.blocks=plain",
    "objective.image_mse=1",
    "objective.defect_weight=1",
    "training.learning_rate=0.001",
)
"""What makes a run that of the network before residual blocks; docs/results/README.md names it."""


def test_there_are_some() -> None:
    assert len([path for path in KEPT if BEFORE not in path.read_text("utf-8")]) > 15


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: path.stem)
def test_no_folder_of_a_machine_is_kept(path: Path) -> None:
    assert not re.search(r'"(/|[A-Z]:\\)', path.read_text("utf-8"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_command_would_find_it_and_not_train_again(path: Path) -> None:
    kept: dict[str, Any] = json.loads(path.read_text())
    if BEFORE in kept["settings"]["model"]["localization"]:
        pytest.skip("of the DiffNeck that saw differences over windows as well")
    (row,) = (row for row in PLANNED[path.parent.name] if row.name == kept["row"])
    earlier: tuple[str, ...] = ()
    # A plain network of today names no blocks either: the optimizer tells the times apart.
    if "optimizer" not in kept["settings"]["training"]:
        earlier = WITH_ADAM if "blocks" in kept["settings"]["model"] else EARLIER
    settings = load_settings(
        system=row.system,
        size=kept["size"],
        overrides=[
            *COMMON,
            *row.overrides,
            *earlier,
            f"training.seed={kept['seed']}",
            f"training.images={kept['images']}",
        ],
    )
    assert what_is_computed(settings) == kept["settings"]
    assert digest([SCHEMA, what_is_computed(settings), kept["data"]["digest"]]) == kept["key"]
    assert path.stem == f"{row.name}-seed{kept['seed']}-{kept['key'][:10]}"
