"""A small data set, and models that were trained on it."""

import sys
from pathlib import Path

import pytest

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.training.fit import train

# The soak is no part of the installed package; it is found from the checkout's root.
sys.path.append(str(Path(__file__).parents[2]))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "data"
    generate(folder, seed=2, classes=CLASS_NAMES[:1], size=64, train=6, test_good=1, per_kind=1)
    return folder


@pytest.fixture(scope="session")
def settings() -> Settings:
    small = ["data.height=64", "data.width=64", "model.stem=4", "training.batch_size=4"]
    fast = ["training.precision=fp32", "training.steps=3", "training.checkpoint_minutes=1e-9"]
    return load_settings(size="tiny", overrides=[*small, *fast])


@pytest.fixture(scope="session")
def model(data: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    out = tmp_path_factory.mktemp("faults") / "model"
    train(settings, [data], out, progress=False)
    return out
