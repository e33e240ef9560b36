"""Which test images are worth looking at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omnial.data.decode import as_unit
from omnial.evaluation.result import GalleryItem, ImageResult, Role
from omnial.evaluation.sample import Sample


def choose(images: Sequence[ImageResult], most: int) -> list[tuple[ImageResult, Role]]:
    """The worst misses, the worst false alarms and the best hits of one class.

    A third each: defective images of the lowest scores, good images of the highest scores, and
    defective images of the highest scores that are not among the first. Where a third cannot be
    filled, its places stay empty. Equal scores keep the order of the images.

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


def gallery_item(
    result: ImageResult,
    role: Role,
    sample: Sample,
    *,
    reconstruction: NDArray[np.float32],
    jnd: NDArray[np.float32] | None,
    score_map: NDArray[np.float32],
) -> GalleryItem:
    """Put together what is shown of one image.

    Args:
        result: The image's score.
        role: Why it is shown.
        sample: The decoded image.
        reconstruction: (3, H, W) float32, clipped to [0, 1] here.
        jnd: (H, W) float32, or None.
        score_map: (H, W) float32.

    Returns:
        The item; it owns its arrays, so that no batch is kept alive.
    """
    return GalleryItem(
        record=result.record,
        role=role,
        score=result.score,
        threshold=result.threshold,
        image=picture(as_unit(sample.image)),
        reconstruction=picture(reconstruction),
        jnd=None if jnd is None else jnd.copy(),
        score_map=score_map.copy(),
        mask=sample.mask,
    )


def picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] as (H, W, 3) uint8."""
    levels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
