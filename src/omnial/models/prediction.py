"""The result of a network for a batch of images, and what every engine that runs one can do."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Prediction(NamedTuple):
    """The result of a network for a batch, in NumPy."""

    score_maps: NDArray[np.float32]
    """(B, H, W), the probability of each pixel to be anomalous; 0 outside the valid region."""
    scores: NDArray[np.float64]
    """(B,), the image scores."""
    features: NDArray[np.float32]
    """(B, F), the appearance of the images, by which products are recognised."""
    reconstruction: NDArray[np.float32] | None = None
    """(B, 3, H, W) in [0, 1]; None where the engine does not give it."""
    jnd: NDArray[np.float32] | None = None
    """(B, H, W), the reconstructed JND target; None where there is none."""


class Backend(Protocol):
    """An engine with a network in it. Threads may call it at the same time."""

    name: str
    """`torch`, `onnx` or `openvino`."""

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Predict a batch of any size.

        Args:
            images: (B, 3, H, W) float32 in [0, 1], H and W those of the network input.
            valid: (B, H, W), True where scores count.
        """
        ...

    def facts(self) -> dict[str, str]:
        """Version of the engine, device and precision."""
        ...
