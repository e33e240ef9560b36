"""The result of a network for a batch of images, on any engine; larger frames in windows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import Settings
from omnial.data.cover import Blend, Cover, Part, size_of
from omnial.errors import RunError
from omnial.models.scoring import image_scores


class Prediction(NamedTuple):
    """The result of a network for a batch, in NumPy."""

    score_maps: NDArray[np.float32]
    """(B, H, W), the probability of each pixel to be anomalous; 0 outside the valid region."""
    scores: NDArray[np.float64]
    """(B,), the image scores."""
    reconstruction: NDArray[np.float32] | None = None
    """(B, 3, H, W) in [0, 1]; None where the engine does not give it."""
    embedding: NDArray[np.float32] | None = None
    """(B, E, h, w), the network's own features, cell by cell; None without normality."""
    jnd: NDArray[np.float32] | None = None
    """(B, H, W), the reconstructed JND target; None where there is none."""

    def checked(self, files: Sequence[Path] = ()) -> "Prediction":
        """The same; a RunError if a score is not finite: NaN is above no threshold."""
        finite = np.isfinite(self.score_maps).all(axis=(1, 2)) & np.isfinite(self.scores)
        if not finite.all():
            of = f" of {files[int(np.argmin(finite))]}" if files else ""
            why = "are not finite: the model was damaged, or was never trained to an end"
            raise RunError(f"The scores{of} {why}. Train or export it again.")
        return self


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
    the network's size: maps and reconstructions are blended (`omnial.data.cover`), and the score is
    that of the whole map. Memory holds one window of each image at a time.

    Images are (B, 3, H, W) float32 in [0, 1], scores count where `valid`, (B, H, W); `run` predicts
    a batch of the network's size, see `Backend.run`.
    """
    frame, window = size_of(images), (settings.data.height, settings.data.width)
    if frame == window:
        return run(images, valid)
    cover = Cover.over(frame, window)
    blends: dict[str, Blend] = {}
    cells: _CellMeans | None = None
    for part in cover.parts():
        inside = np.ascontiguousarray(valid[(..., *part)])
        found = run(np.ascontiguousarray(images[(..., *part)]), inside)
        for name in ("score_maps", "reconstruction", "jnd"):
            values = getattr(found, name)
            if values is not None:
                if name not in blends:
                    blends[name] = Blend(cover, values.shape[:-2], np.float64)
                blends[name].add(part, values)
        if found.embedding is not None:
            cells = cells or _CellMeans(frame, window, found.embedding)
            cells.add(part, found.embedding)
    maps = {name: blend.result() for name, blend in blends.items()}
    return Prediction(
        **maps,
        scores=image_scores(maps["score_maps"], valid, settings.model.image_score),
        embedding=None if cells is None else cells.result(),
    )


class _CellMeans:
    """Features of a frame's cells: the mean over the windows' cells whose middles lie in them.

    Frame and window are heights and widths in pixels, the cells (B, E, h, w) those of a window.
    """

    def __init__(
        self, frame: tuple[int, int], window: tuple[int, int], cells: NDArray[np.float32]
    ) -> None:
        self._edges = tuple(-(-w // n) for w, n in zip(window, cells.shape[-2:], strict=True))
        # A rest that is less than a cell belongs to the last one: each holds a window's cell.
        rows, columns = (max(f // edge, 1) for f, edge in zip(frame, self._edges, strict=True))
        self._sum = np.zeros((*cells.shape[:2], rows, columns), np.float32)
        self._count = np.zeros((rows, columns), np.float32)

    def add(self, part: Part, cells: NDArray[np.float32]) -> None:
        """Add a window's cells."""
        y, x = (
            np.minimum((along.start + (np.arange(n) + 0.5) * edge) // edge, limit - 1).astype(int)
            for along, n, edge, limit in zip(
                part, cells.shape[-2:], self._edges, self._count.shape, strict=True
            )
        )
        self._sum[..., y[:, None], x] += cells
        self._count[y[:, None], x] += 1.0

    def result(self) -> NDArray[np.float32]:
        """(B, E, rows, columns) of the frame."""
        return np.divide(self._sum, self._count, dtype=np.float32)
