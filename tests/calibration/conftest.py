"""A small model of one drawn product, trained for two steps, and images of another one."""

from pathlib import Path

import pytest

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.demo.production_line import generate
from omnial.training.fit import train
from tests.pretrained import without_the_package


def settings_of(normality: str) -> Settings:
    return load_settings(
        size="tiny",
        overrides=[
            *("data.height=64", "data.width=64", "calibration.false_alarm_rate=0.2"),
            *("training.steps=2", "training.batch_size=4", "training.precision=fp32"),
            f"model.normality={normality}",
        ],
    )


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products, 25 training images each."""
    root = tmp_path_factory.mktemp("line") / "data"
    wanted = {"size": 64, "train": 25, "test_good": 4, "per_kind": 1}
    generate(root, seed=1, classes=["gear", "tile"], **wanted)
    return root


@pytest.fixture(scope="session", params=["own", "own+pretrained", "none"])
def trained(
    line: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """Model folders that know the gear, with normality and without."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    with without_the_package():
        train(settings_of(request.param), line / "gear", folder, progress=False)
    return folder
