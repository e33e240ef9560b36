"""Which test images are worth looking at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omnial.evaluation.result import ImageResult, Role


def choose(images: Sequence[ImageResult], most: int) -> list[tuple[ImageResult, Role]]:
    """The worst misses, the worst false alarms and the best hits of one class.

    A third each: defective images of the lowest scores, good images of the highest scores, and
    defective images of the highest scores that are not among the first. Where a third cannot be
    filled, it stays shorter. Equal scores keep the order of the images.

    Args:
        images: The test images of a class.
        most: Most images to choose.

    Returns:
        The images with their roles, grouped by role, the most telling of each first.
    """
    rising = sorted((i for i in images if i.record.anomalous), key=lambda i: i.score)
    falling = sorted((i for i in images if not i.record.anomalous), key=lambda i: -i.score)
    missed = rising[: (most + 2) // 3]
    hits = rising[len(missed) :][::-1]
    groups: tuple[tuple[Role, list[ImageResult]], ...] = (
        ("missed", missed),
        ("false alarm", falling[: (most + 1) // 3]),
        ("hit", hits[: most // 3]),
    )
    return [(image, role) for role, group in groups for image in group]


def picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] as (H, W, 3) uint8."""
    levels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
