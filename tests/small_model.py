"""Small models: an untrained one, and one that finds red on green or blue parts."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.models.appearance import appearance
from omnial.models.recogniser import FEATURES, Recogniser
from omnial.models.system import Output, build_model
from omnial.models.thresholds import Calibration, calibrate
from omnial.models.trained_model import TrainedModel

HEIGHT, WIDTH = 32, 64
EDGE = 64
"""Of the pictures of the model that finds red."""


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


class RedFinder(nn.Module):
    """Red is anomalous; notes the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(10.0))
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Output:
        self.batches.append(len(images))
        logit = self.gain * (images[:, :1] - 0.5)
        return Output(images, images[:, :1], torch.cat([-logit, logit], 1))


def red_model(
    network: nn.Module | None = None,
    *,
    data: Mapping[str, object] | None = None,
    threshold: float = 0.2,
    tile: int | None = None,
    **parts: Any,
) -> TrainedModel:
    """A model of two products: green moss, with a threshold of its own, and blue sea.

    Args:
        network: Another one than a `RedFinder`.
        data: Settings of the data that differ.
        threshold: Of the moss; that of all products together is 0.1 more.
        tile: What the thresholds were set for.
        parts: What it has instead of the usual.
    """
    usual: dict[str, Any] = {
        "settings": Settings.model_validate(
            {"data": {"height": EDGE, "width": EDGE, **(data or {})}}
        ),
        "classes": ("moss", "sea"),
        "network": network or RedFinder(),
        "calibration": Calibration(
            per_class={"moss": threshold, "sea": None},
            pooled=round(threshold + 0.1, 9),
            pixel=0.5,
            false_alarm_rate=0.1,
            counts={"moss": 20, "sea": 2},
            scores={"moss": (0.1,) * 20, "sea": (0.1,) * 2},
            tile=tile,
        ),
        "recogniser": green_or_blue(("moss", "sea")),
        "rois": {},
        "training": {},
    }
    return TrainedModel(**usual | parts)


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
