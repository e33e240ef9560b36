"""A frame larger than the network's input, predicted through overlapping windows, on any engine."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import Settings
from omnial.data.cover import Blend, Cover, size_of
from omnial.models.prediction import Prediction
from omnial.models.scoring import image_scores


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

    Args:
        run: Predicts a batch of the network's size; see `Backend.run`.
        images: (B, 3, H, W) float32 in [0, 1].
        valid: (B, H, W), True where scores count.
        settings: The network input, and the rule from score map to score.

    Returns:
        The prediction for whole frames.
    """
    frame, window = size_of(images), (settings.data.height, settings.data.width)
    if frame == window:
        return run(images, valid)
    cover = Cover.over(frame, window)
    blends: dict[str, Blend] = {}
    features = []
    for part in cover.parts():
        found = run(
            np.ascontiguousarray(images[(..., *part)]), np.ascontiguousarray(valid[(..., *part)])
        )
        maps = {"score_maps": found.score_maps, "reconstruction": found.reconstruction}
        for name, values in {**maps, "jnd": found.jnd}.items():
            if values is not None:
                if name not in blends:
                    blends[name] = Blend(cover, values.shape[:-2], np.float64)
                blends[name].add(part, values)
        features.append(found.features)
    whole = {name: blend.result() for name, blend in blends.items()}
    return Prediction(
        **whole,
        scores=image_scores(whole["score_maps"], valid, settings.model.image_score),
        features=np.mean(features, axis=0),
    )
