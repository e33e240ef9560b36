"""What every engine takes and gives, and the class-dependent region of interest afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import ImageScore
from omnial.errors import RunError, UserError
from omnial.inference.backends.telemetry import switched_off
from omnial.models.host_scoring import image_scores
from omnial.untrusted import JSON

Ports: TypeAlias = Mapping[str, tuple[int | None, ...]]
"""Shapes of an exported network's inputs and outputs, by name; None is any length."""

PORTS: Final = ("images", "valid", "score_map", "score", "features", "reconstruction")
"""Names of an exported network's inputs and outputs; the last is not always there."""


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
