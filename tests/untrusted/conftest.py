"""One valid model folder, copied for each test that damages it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from omnial.calibration.recogniser import Recogniser
from omnial.calibration.thresholds import calibrate
from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.models.folder import TrainedModel, save_model
from omnial.models.system import build_model

CLASSES = ("bolt", "tile")


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `omnial train` could have written; do not change it."""
    folder = tmp_path_factory.mktemp("valid") / "model"
    settings = Settings(
        data=DataSettings(height=32, width=64),
        model=ModelSettings(
            stem=4,
            reconstruction=ReconstructionSettings(widths=(4, 4, 4), norm="batch"),
            localization=LocalizationSettings(widths=(4, 4, 4)),
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(settings.model)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, 16)) + np.repeat([[0], [9]], 3, axis=0)
    model = TrainedModel(
        settings=settings,
        classes=CLASSES,
        network=network,
        calibration=calibrate({name: generator.random(4) for name in CLASSES}, 0.5, 0.4),
        recogniser=Recogniser.fit(features, np.repeat([0, 1], 3), CLASSES),
        rois={"tile": generator.random((32, 64)) < 0.5},
        training={"steps": 3},
    )
    save_model(folder, model)
    return folder


@pytest.fixture
def folder(valid: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(valid, tmp_path / "model"))
