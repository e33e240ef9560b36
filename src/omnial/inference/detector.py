"""An engine as something that can be evaluated."""

import numpy as np
from numpy.typing import NDArray

from omnial.evaluation.detector import Detection
from omnial.inference.backends.base import Backend


class EngineDetector:
    """An engine as a detector. It does not look at the class."""

    def __init__(self, engine: Backend) -> None:
        self._engine = engine

    def detect(
        self, images: NDArray[np.float32], valid: NDArray[np.bool_], class_name: str
    ) -> Detection:
        """Score a batch; see `Detector.detect`."""
        found = self._engine.run(images, valid)
        return Detection(found.score_maps, found.scores, found.reconstruction, found.jnd)
