"""The part of each image in the figures, gathered from all processes.

Batches are those of a single process. Process r of w takes every w-th one, from the r-th on: each
image is seen once, in the company that it has anyway, and no image is added to even out the parts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.data.records import ImageRecord
from omnial.distributed import collectives
from omnial.evaluation.sample import Sample, stack
from omnial.metrics.psnr_ssim import psnr, ssim
from omnial.models.prediction import Prediction


class Measured(NamedTuple):
    """The part of one image in the figures."""

    record: ImageRecord
    score: float
    score_map: NDArray[np.float32] | None
    """(H, W); None where the image does not count pixel by pixel."""
    mask: NDArray[np.bool_] | None
    """(H, W), the defects; None where there are none."""
    valid: NDArray[np.bool_]
    """(H, W), the pixels that count."""
    psnr: float | None = None
    """Of a good image, where the network reconstructs."""
    ssim: float | None = None


def has_pixel_truth(record: ImageRecord) -> bool:
    """Whether an image counts pixel by pixel: a defective one needs a mask."""
    return record.mask is not None or not record.anomalous


def measure(
    samples: Sequence[Sample], prediction: Prediction, pixels: bool, device: torch.device | None
) -> list[Measured]:
    """The figures of images of one size by their prediction.

    `pixels` says whether the class has figures of its pixels; the device computes PSNR and SSIM.
    """
    measured = []
    scores = prediction.scores.tolist()
    for sample, score, score_map in zip(samples, scores, prediction.score_maps, strict=True):
        counted = score_map if pixels and has_pixel_truth(sample.record) else None
        measured.append(Measured(sample.record, score, counted, sample.mask, sample.valid))
    good = [i for i, sample in enumerate(samples) if not sample.record.anomalous]
    if prediction.reconstruction is not None and good:
        inputs, valid = stack([samples[i] for i in good])
        restored = torch.as_tensor(prediction.reconstruction[good], device=device)
        ratios, similarities = psnr(restored, inputs, valid), ssim(restored, inputs, valid)
        for i, ratio, similarity in zip(good, ratios.tolist(), similarities.tolist(), strict=True):
            measured[i] = measured[i]._replace(psnr=ratio, ssim=similarity)
    return measured


def share(records: Sequence[ImageRecord], batch_size: int) -> list[ImageRecord]:
    """The images whose batches are this process's turn, in order; batches stay as they are."""
    starts = range(0, len(records), batch_size)[collectives.rank() :: collectives.size()]
    return [record for start in starts for record in records[start : start + batch_size]]


def gathered(
    images: int, batch_size: int, measured: Callable[[], Iterator[list[Measured]]]
) -> Iterator[list[Measured]]:
    """Every batch of all processes, in the order of a single one.

    In the first process these are all batches; in the others none, though they must iterate. What
    measuring raised in any process is raised in all. `measured` begins this process's own batches,
    those of `share`.
    """
    own = measured()
    for _ in range(0, images, batch_size * collectives.size()):
        # In the last round, a process may have no batch left.
        for batch in collectives.gather(lambda: next(own, None)):
            if batch is not None:
                yield batch
