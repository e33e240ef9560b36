"""What every engine takes and gives, and the class-dependent region of interest afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from omnial.config.settings import ImageScore
from omnial.errors import RunError, UserError
from omnial.inference.backends.telemetry import switched_off
from omnial.models.config_file import JSON
from omnial.models.score_size import highest_count, window_size

Ports: TypeAlias = Mapping[str, tuple[int | None, ...]]
"""Shapes of an exported network's inputs and outputs, by name; None is any length."""


class Scored(NamedTuple):
    """What a network says about a batch, on the host."""

    score_maps: NDArray[np.float32]
    """(B, H, W) in [0, 1]; 0 outside the valid region."""
    scores: NDArray[np.float64]
    """(B,) in [0, 1]."""
    features: NDArray[np.float32]
    """(B, F), by which products are recognised."""
    reconstruction: NDArray[np.float32] | None = None
    """(B, 3, H, W) in [0, 1]; None where the engine does not give it."""
    jnd: NDArray[np.float32] | None = None
    """(B, H, W), the reconstructed JND target; None likewise."""


class Backend(Protocol):
    """An engine with a network in it. Threads may call it at the same time."""

    name: str
    """`torch`, `onnx` or `openvino`."""

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Scored:
        """Inspect a batch of any size.

        Args:
            images: (B, 3, H, W) float32 in [0, 1], H and W those of the network input.
            valid: (B, H, W), True where scores count.
        """
        ...

    def facts(self) -> dict[str, JSON]:
        """What the engine is and how it computes: versions, device, precision."""
        ...


def checked(scored: Scored) -> Scored:
    """The same result, where it is one: NaN is above no threshold, and would pass as good.

    Raises:
        RunError: A score is no number.
    """
    if not (np.isfinite(scored.score_maps).all() and np.isfinite(scored.scores).all()):
        raise RunError(
            "The network gives scores that are not finite: the model was damaged, or was never "
            "trained to an end. Train or export it again."
        )
    return scored


def restrict(scored: Scored, valid: NDArray[np.bool_], rule: ImageScore) -> Scored:
    """The same result with scores inside a region alone.

    For a region of interest that is known only after the product has been recognised.

    Args:
        scored: A batch of B maps of H x W.
        valid: (B, H, W), True where scores count.
        rule: The network's, from score map to score.

    Raises:
        ValueError: `valid` has another shape than the maps.
    """
    if valid.shape != scored.score_maps.shape:
        raise ValueError(f"valid is {valid.shape}, the maps are {scored.score_maps.shape}")
    maps = np.where(valid, scored.score_maps, np.float32(0.0))
    return scored._replace(score_maps=maps, scores=image_scores(maps, valid, rule))


def image_scores(
    maps: NDArray[np.float32], valid: NDArray[np.bool_], rule: ImageScore
) -> NDArray[np.float64]:
    """One score per image, as `omnial.models.scoring.image_score` defines it, in NumPy.

    Args:
        maps: (B, H, W) scores in [0, 1], 0 outside the valid region.
        valid: (B, H, W).
        rule: From score map to score.

    Returns:
        (B,); 0 for an image without a valid pixel.
    """
    if rule == "top_mean":
        pairs = zip(maps, valid, strict=True)
        return np.array([_top_mean(values[inside]) for values, inside in pairs], np.float64)
    return _window_maxima(maps, valid)


def _top_mean(values: NDArray[np.float32]) -> float:
    if not values.size:
        return 0.0
    count = highest_count(values.size)
    return float(np.partition(values, -count)[-count:].mean(dtype=np.float64))


def _window_maxima(maps: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    # A mean over the valid pixels of a window is the sum of their scores over their number; the
    # filter's own divisor, the window's area, cancels.
    window = window_size(maps.shape[1], maps.shape[2])
    size = (1, window, window)
    sums = uniform_filter(maps.astype(np.float64), size, mode="constant")
    share = uniform_filter(valid.astype(np.float64), size, mode="constant")
    means = np.divide(sums, share, out=np.zeros_like(sums), where=valid)
    scores: NDArray[np.float64] = means.max(axis=(1, 2)).clip(0.0, 1.0)
    return scores


@contextmanager
def needs_package(package: str, extra: str) -> Iterator[None]:
    """Around the import of an engine: its telemetry is off, and a failure becomes advice.

    Raises:
        UserError: The package is not installed.
    """
    try:
        with switched_off():
            yield
    except ImportError as error:
        raise UserError(
            f"{package} is not installed, or cannot be loaded ({error}). Install it: "
            f"pip install '{extra}'."
        ) from error
