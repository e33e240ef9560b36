"""What stays of a batch once it is predicted, brought together from all processes.

Batches are those of a single process. Process r of w takes every w-th one, from the r-th on: each
image is seen once, in the company that it has anyway, and no image is added to even out the parts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.geometry import place
from omnial.data.image_file import image_size
from omnial.data.records import ImageRecord
from omnial.distributed import collectives
from omnial.evaluation.sample import Sample, stack
from omnial.metrics.reconstruction import psnr, ssim
from omnial.models.prediction import Prediction


class PixelTruth(NamedTuple):
    """One image's pixel scores beside the truth."""

    kind: str
    score_map: NDArray[np.float32]
    """(H, W)."""
    mask: NDArray[np.bool_] | None
    """(H, W), the defects; None where there are none."""
    valid: NDArray[np.bool_]
    """(H, W), the pixels that count."""


class Measured(NamedTuple):
    """One batch."""

    records: list[ImageRecord]
    scores: list[float]
    """The image scores, in the order of the records."""
    pixels: list[PixelTruth]
    """Of the images that count pixel by pixel."""
    psnr: list[float]
    """Of the good images, where the network reconstructs."""
    ssim: list[float]


def has_pixel_truth(record: ImageRecord) -> bool:
    """Whether an image counts pixel by pixel: a defective one needs a mask."""
    return record.mask is not None or not record.anomalous


def measure(
    samples: Sequence[Sample], prediction: Prediction, pixels: bool, device: torch.device | None
) -> Measured:
    """Keep of a batch what the figures are made of.

    Args:
        samples: The images, of one size.
        prediction: Of these images.
        pixels: Whether the class has figures of its pixels.
        device: A GPU that computes PSNR and SSIM; None is the host.
    """
    ratios: list[float] = []
    similarities: list[float] = []
    good = [i for i, sample in enumerate(samples) if not sample.record.anomalous]
    if prediction.reconstruction is not None and good:
        inputs, valid = stack([samples[i] for i in good])
        restored = torch.as_tensor(prediction.reconstruction[good], device=device)
        ratios.extend(map(float, psnr(restored, inputs, valid)))
        similarities.extend(map(float, ssim(restored, inputs, valid)))
    return Measured(
        [sample.record for sample in samples],
        [float(score) for score in prediction.scores],
        [
            PixelTruth(sample.record.kind, score_map, sample.mask, sample.valid)
            for sample, score_map in zip(samples, prediction.score_maps, strict=True)
            if pixels and has_pixel_truth(sample.record)
        ],
        ratios,
        similarities,
    )


def counted_pixels(records: Sequence[ImageRecord], settings: DataSettings) -> dict[str, int]:
    """How many pixels the counted score maps of each kind have; none where no image has a mask.

    Raises:
        ImageError: A file's size cannot be read.
    """
    counts: Counter[str] = Counter()
    if any(record.mask is not None for record in records):
        for record in filter(has_pixel_truth, records):
            frame = place(image_size(record.path, settings.max_megapixels), settings)
            counts[record.kind] += frame.height * frame.width
    return dict(counts)


def joined(parts: Sequence[Measured]) -> Measured:
    """Put the parts of a batch together, in order."""
    return Measured(
        [record for part in parts for record in part.records],
        [score for part in parts for score in part.scores],
        [pixels for part in parts for pixels in part.pixels],
        [value for part in parts for value in part.psnr],
        [value for part in parts for value in part.ssim],
    )


def share(records: Sequence[ImageRecord], batch_size: int) -> list[ImageRecord]:
    """The images whose batches are this process's turn, in order; batches stay as they are."""
    starts = range(0, len(records), batch_size)[collectives.rank() :: collectives.size()]
    return [record for start in starts for record in records[start : start + batch_size]]


def in_order(
    images: int, batch_size: int, measured: Callable[[], Iterator[Measured]]
) -> Iterator[Measured]:
    """Every batch of all processes, in the order of a single one.

    Args:
        images: Images in all.
        batch_size: Images in each batch; the last may have fewer.
        measured: Begins this process's own batches, those of `share`.

    Yields:
        In the first process every batch; in the others none, though they must iterate.

    Raises:
        Exception: What measuring raised in any process.
    """
    own = measured()
    batches = -(-images // batch_size)
    for _ in range(-(-batches // collectives.size())):
        # In the last round, a process may have nothing left.
        for batch in collectives.gather(lambda: next(own, None)):
            if batch is not None:
                yield batch
