"""An engine as something that can be evaluated."""

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import Settings
from omnial.evaluation.detector import Detection
from omnial.inference.backends.base import Backend
from omnial.models.windows import over_windows


class EngineDetector:
    """An engine as a detector, with the settings of its network. It does not look at the class."""

    def __init__(self, engine: Backend, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def detect(
        self, images: NDArray[np.float32], valid: NDArray[np.bool_], class_name: str
    ) -> Detection:
        """Score a batch; see `Detector.detect`."""
        found = over_windows(self._engine.run, images, valid, self._settings)
        return Detection(found.score_maps, found.scores, found.reconstruction, found.jnd)
