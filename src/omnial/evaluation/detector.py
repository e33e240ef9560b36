"""What can be evaluated: anything that gives score maps and image scores for a batch."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.models.runner import inspect_batch
from omnial.models.trained_model import TrainedModel


class Detection(NamedTuple):
    """What a detector makes of a batch.

    Attributes:
        score_maps: (B, H, W) float32, finite, higher is more anomalous.
        scores: (B,) float64, finite, higher is more anomalous.
        reconstruction: (B, 3, H, W) float32; None where the detector does not reconstruct.
        jnd: (B, H, W) float32, the reconstructed JND target; None where there is none.
    """

    score_maps: NDArray[np.float32]
    scores: NDArray[np.float64]
    reconstruction: NDArray[np.float32] | None = None
    jnd: NDArray[np.float32] | None = None


class Detector(Protocol):
    """Anything that scores images."""

    def detect(
        self, images: NDArray[np.float32], valid: NDArray[np.bool_], class_name: str
    ) -> Detection:
        """Score a batch of one class.

        Args:
            images: (B, 3, H, W) float32 in [0, 1], frames of one size: the network's, or larger
                where images are to be seen in windows.
            valid: (B, H, W) bool, the pixels that count.
            class_name: The class of all images.
        """
        ...


class ModelDetector:
    """A trained model as a detector. It does not look at the class."""

    def __init__(self, model: TrainedModel) -> None:
        self._model = model

    def detect(
        self, images: NDArray[np.float32], valid: NDArray[np.bool_], class_name: str
    ) -> Detection:
        """Score a batch; see `Detector.detect`."""
        found = inspect_batch(self._model, torch.from_numpy(images), torch.from_numpy(valid))
        return Detection(found.score_maps, found.scores, found.reconstruction, found.jnd)
