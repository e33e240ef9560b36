"""What each row makes of the same ten images: input, ground truth, reconstruction, score map."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.data.decode import as_unit
from omnial.data.records import Catalogue, ImageRecord
from omnial.evaluation.gallery import picture
from omnial.evaluation.stream import load_sample
from omnial.models.runner import inspect_batch
from omnial.models.trained_model import TrainedModel
from omnial.reporting.mosaic import mosaic
from omnial.reporting.pictures import grey_picture

IMAGES: Final = 10


def pick(catalogue: Catalogue, count: int = IMAGES) -> list[ImageRecord]:
    """Choose defective test images with a mask, the classes in turn, kinds as varied as can be.

    The same data give the same images, whatever the model: none is chosen by a score.
    """
    queues = []
    for place, product in enumerate(catalogue.classes):
        having = [record for record in product.test if record.anomalous and record.mask]
        kinds = list(dict.fromkeys(record.kind for record in having))
        # Classes start at different kinds, since many have the same ones.
        start = place % max(len(kinds), 1)
        kinds = kinds[start:] + kinds[:start]
        # The first image of every kind, then the second ones, and so on.
        queues.append(_in_turn([[r for r in having if r.kind == kind] for kind in kinds]))
    return _in_turn(queues)[:count]


def _in_turn(queues: Sequence[Sequence[ImageRecord]]) -> list[ImageRecord]:
    """The first of every queue, then the second ones, until all are empty."""
    return [record for turn in zip_longest(*queues) for record in turn if record is not None]


def gallery(
    catalogue: Catalogue,
    records: Sequence[ImageRecord],
    models: Sequence[tuple[str, TrainedModel]],
) -> NDArray[np.uint8]:
    """Draw one picture: a line an image; input, ground truth, and two columns a model.

    Args:
        catalogue: Where the records are from.
        records: The images.
        models: What to call each model, and the model; all take the same network input.

    Returns:
        (H, W, 3) RGB.
    """
    products = {product.name: product for product in catalogue.classes}
    settings = models[0][1].settings.data
    samples = [load_sample(record, products[record.class_name], settings) for record in records]
    images = [torch.from_numpy(as_unit(sample.image))[None] for sample in samples]
    masks = [
        np.zeros(sample.valid.shape, bool) if sample.mask is None else sample.mask
        for sample in samples
    ]
    columns = {
        "input": [picture(image[0].numpy()) for image in images],
        "ground truth": [grey_picture(mask.astype(np.float32)) for mask in masks],
    }
    for name, model in models:
        found = [inspect_batch(model, image) for image in images]
        columns[f"{name}: rebuilt"] = [picture(one.reconstruction[0]) for one in found]
        columns[f"{name}: score"] = [grey_picture(one.score_maps[0]) for one in found]
    labels = [f"{record.class_name}, {record.kind}" for record in records]
    lines = list(zip(*columns.values(), strict=True))
    return mosaic(list(columns), list(zip(labels, lines, strict=True)))
