"""The result of a network for a batch of images, on any engine; larger frames in windows."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import ImageScore, Settings
from omnial.data.cover import Blend, Cover, size_of
from omnial.models.scoring import image_scores


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
        """Predict (B, 3, H, W) images in [0, 1] of the network's size; scores count where valid."""
        ...

    def facts(self) -> dict[str, str]:
        """Version of the engine, device and precision."""
        ...


def over_windows(
    run: Callable[[NDArray[np.float32], NDArray[np.bool_]], Prediction],
    images: NDArray[np.float32],
    valid: NDArray[np.bool_],
    settings: Settings,
) -> Prediction:
    """Predict a batch of frames of one size.

    A frame of the network's size goes through it as it is. Another one is covered by windows of
    the network's size: maps and reconstructions are blended (`omnial.data.cover`), features are
    those of the windows on average, and the score is that of the whole map. Memory holds one
    window of each image at a time.

    Images are (B, 3, H, W) float32 in [0, 1], scores count where `valid`, (B, H, W); `run` predicts
    a batch of the network's size, see `Backend.run`.
    """
    frame, window = size_of(images), (settings.data.height, settings.data.width)
    if frame == window:
        return run(images, valid)
    cover = Cover.over(frame, window)
    blends: dict[str, Blend] = {}
    features = []
    for part in cover.parts():
        inside = np.ascontiguousarray(valid[(..., *part)])
        found = run(np.ascontiguousarray(images[(..., *part)]), inside)
        for name in ("score_maps", "reconstruction", "jnd"):
            values = getattr(found, name)
            if values is not None:
                if name not in blends:
                    blends[name] = Blend(cover, values.shape[:-2], np.float64)
                blends[name].add(part, values)
        features.append(found.features)
    maps = {name: blend.result() for name, blend in blends.items()}
    return Prediction(
        **maps,
        scores=image_scores(maps["score_maps"], valid, settings.model.image_score),
        features=np.mean(features, axis=0),
    )


def restrict(prediction: Prediction, valid: NDArray[np.bool_], rule: ImageScore) -> Prediction:
    """The same prediction with scores inside a region alone, (B, H, W), True where scores count.

    For a region of interest that is known only after the product has been recognised.
    """
    if valid.shape != prediction.score_maps.shape:
        raise ValueError(f"valid is {valid.shape}, the maps are {prediction.score_maps.shape}")
    maps = np.where(valid, prediction.score_maps, np.float32(0.0))
    return prediction._replace(score_maps=maps, scores=image_scores(maps, valid, rule))
