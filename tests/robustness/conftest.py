"""Two generated classes, a tiny surrogate, one small set: shared by the tests of this folder."""

from pathlib import Path

import pytest

from omnial.config.load import load_settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.robustness.build_set import SetPlan, build_set
from omnial.training.fit import train

CLASSES = CLASS_NAMES[:2]
PLAN = SetPlan(samples=2, batch_size=1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    generate(folder, seed=4, classes=CLASSES, size=64, train=6, test_good=2, per_kind=1)
    return folder


@pytest.fixture(scope="session")
def surrogate(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A barely trained model."""
    folder = tmp_path_factory.mktemp("models") / "surrogate"
    settings = load_settings(
        system="surrogate",
        size="tiny",
        overrides=[
            *("data.height=64", "data.width=64", "training.batch_size=4"),
            *("training.steps=8", "training.precision=fp32"),
        ],
    )
    train(settings, [data], folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def made(data: Path, surrogate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished set; do not change it."""
    folder = tmp_path_factory.mktemp("sets") / "set"
    build_set(surrogate, [data], folder, PLAN, device="cpu")
    return folder
