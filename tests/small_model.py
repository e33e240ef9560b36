"""An untrained model as small as can be, for tests to which its verdicts do not matter."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.models.appearance import appearance
from omnial.models.recogniser import FEATURES, Recogniser
from omnial.models.system import build_model
from omnial.models.thresholds import calibrate
from omnial.models.trained_model import TrainedModel

HEIGHT, WIDTH = 32, 64


def green_or_blue(classes: Sequence[str]) -> Recogniser:
    """Tells two products apart by their colour alone: the first is green, the second blue."""
    colours = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.9]])
    images = colours[:, :, None, None].expand(-1, -1, 64, 64)
    scale = np.full(FEATURES, 1e6, np.float32)
    scale[1:10] = np.sqrt(9 / FEATURES)  # brightness and colour
    return Recogniser(
        names=tuple(classes),
        examples=appearance(images.numpy()),
        counts=np.array([2, 2]),
        scale=scale,
        radius=np.full(2, 0.3, np.float32),
        min_contrast=np.full(2, -100.0, np.float32),
        no_product=np.empty((0, FEATURES), np.float32),
    )


def untrained(
    classes: Sequence[str], *, norm: Literal["batch", "instance"] = "instance", **parts: Any
) -> TrainedModel:
    """A model of 32x64 pixels whose thresholds are random.

    Args:
        classes: Names of its products.
        norm: That of the reconstruction.
        parts: What it has instead of the usual `calibration`, `rois`, `training` or
            `trained_files`.
    """
    settings = Settings(
        data=DataSettings(height=HEIGHT, width=WIDTH),
        model=ModelSettings(
            stem=4,
            reconstruction=ReconstructionSettings(widths=(4, 8, 8), norm=norm),
            localization=LocalizationSettings(widths=(4, 8, 8)),
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(settings.model)
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(classes)), 3)
    features = generator.normal(size=(labels.size, FEATURES)) + 10.0 * labels[:, np.newaxis]
    usual = {
        "calibration": calibrate({name: generator.random(4) for name in classes}, 0.5, 0.4),
        "rois": {},
        "training": {},
        "trained_files": frozenset(),
    }
    return TrainedModel(
        settings=settings,
        classes=tuple(classes),
        network=network,
        recogniser=Recogniser.fit(features, labels, tuple(classes)),
        **usual | parts,
    )
