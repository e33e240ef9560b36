"""PyTorch as an engine: the reference that the other two are measured against."""

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.inference.backends.base import Scored
from omnial.models.runner import inspect_batch
from omnial.models.trained_model import TrainedModel
from omnial.untrusted import JSON


class TorchBackend:
    """A trained model, in float32, on the device that it was loaded to.

    The number of threads is PyTorch's own, which holds for the whole process.
    """

    name = "torch"

    def __init__(self, model: TrainedModel) -> None:
        self._model = model

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Scored:
        """Inspect a batch; see `Backend.run`."""
        found = inspect_batch(self._model, torch.from_numpy(images), torch.from_numpy(valid))
        return Scored(
            score_maps=found.score_maps,
            scores=found.scores,
            features=found.features,
            reconstruction=found.reconstruction,
            jnd=found.jnd,
        )

    def facts(self) -> dict[str, JSON]:
        """Version and device."""
        device = next(self._model.network.parameters()).device
        return {"torch": torch.__version__, "device": str(device), "precision": "f32"}
