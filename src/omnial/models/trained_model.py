"""A trained model in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from omnial.config.settings import Settings
from omnial.models.normality import Normality
from omnial.models.recogniser import Recogniser
from omnial.models.thresholds import Calibration
from omnial.untrusted import JSON


@dataclass(repr=False)
class TrainedModel:
    """Everything that inspection needs, in memory."""

    settings: Settings
    classes: tuple[str, ...]
    """Names of the products, in the order of training."""
    network: nn.Module
    calibration: Calibration
    """Thresholds of exactly the classes above."""
    recogniser: Recogniser
    """Knows exactly the classes above, in that order."""
    rois: Mapping[str, NDArray[np.bool_]]
    """For classes with a region of interest: (height, width) of the network, True inside."""
    training: Mapping[str, JSON]
    """Facts about the training: seed, steps, images, seconds, precision, data, version."""
    normality: dict[str, Normality] = field(default_factory=dict)
    """What is normal for each class, with `model.normality`; else empty."""
    trained_files: frozenset[bytes] = frozenset()
    """Of each file that the network was trained on, see `short_digest`."""

    def __repr__(self) -> str:
        """For a prompt, without the arrays."""
        settings = self.settings
        names = ", ".join(self.classes)
        return f"<TrainedModel of {names}: system {settings.system}, size {settings.size}>"
