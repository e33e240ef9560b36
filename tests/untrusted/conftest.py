"""One valid model folder, copied for each test that damages it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from omnial.model_folder.weights_file import save_model
from tests.small_model import HEIGHT, WIDTH, untrained

CLASSES = ("bolt", "tile")


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `omnial train` could have written; do not change it."""
    folder = tmp_path_factory.mktemp("valid") / "model"
    region = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    model = untrained(CLASSES, norm="batch", rois={"tile": region}, training={"steps": 3})
    save_model(folder, model)
    return folder


@pytest.fixture
def folder(valid: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(valid, tmp_path / "model"))
