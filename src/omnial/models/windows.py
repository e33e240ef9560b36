"""A frame larger than the network's input, inspected through overlapping windows, on any engine."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import Settings
from omnial.data.cover import Blend, Cover, size_of
from omnial.models.host_scoring import image_scores

_MAPS = ("score_maps", "reconstruction", "jnd")


class Inspected(Protocol):
    """What engines say about a batch, a named tuple; fields that are not there do not matter."""

    @property
    def score_maps(self) -> NDArray[np.float32]:
        """(B, H, W), 0 outside the valid region."""
        ...

    @property
    def features(self) -> NDArray[np.float32]:
        """(B, F)."""
        ...


_Found = TypeVar("_Found", bound=Inspected)


def over_windows(
    run: Callable[[NDArray[np.float32], NDArray[np.bool_]], _Found],
    images: NDArray[np.float32],
    valid: NDArray[np.bool_],
    settings: Settings,
) -> _Found:
    """Inspect a batch of frames of one size.

    A frame of the network's size goes through it as it is. Another one is covered by windows of
    the network's size: maps and reconstructions are blended (`omnial.data.cover`), features are
    those of the windows on average, and the score is that of the whole map. Memory holds one
    window of each image at a time.

    Args:
        run: Inspects a batch (B, 3, height, width) with its valid pixels (B, height, width), by
            `score_maps`, `scores`, `features`, and perhaps `reconstruction` and `jnd`.
        images: (B, 3, H, W) float32 in [0, 1].
        valid: (B, H, W), True where scores count.
        settings: The network input, and the rule from score map to score.

    Returns:
        What `run` returns, for whole frames.
    """
    frame, window = size_of(images), (settings.data.height, settings.data.width)
    if frame == window:
        return run(images, valid)
    cover = Cover.over(frame, window)
    blends: dict[str, Blend] = {}
    features, last = [], None
    for part in cover.parts():
        found = run(
            np.ascontiguousarray(images[(..., *part)]), np.ascontiguousarray(valid[(..., *part)])
        )
        for name in _MAPS:
            values = getattr(found, name, None)
            if values is not None:
                if name not in blends:
                    blends[name] = Blend(cover, values.shape[:-2], np.float64)
                blends[name].add(part, values)
        features.append(found.features)
        last = found
    whole: dict[str, Any] = {name: blend.result() for name, blend in blends.items()}
    whole["features"] = np.mean(features, axis=0)
    whole["scores"] = image_scores(whole["score_maps"], valid, settings.model.image_score)
    return cast(_Found, cast(Any, last)._replace(**whole))
