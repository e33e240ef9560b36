"""What each row makes of the same ten images: input, ground truth, reconstruction, score map."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit, network_input
from omnial.data.records import Catalogue, ImageRecord
from omnial.evaluation.stream import load_sample
from omnial.models.folder import TrainedModel
from omnial.models.runner import inspect_batch

IMAGES: Final = 10
_EDGE: Final = 112
_GAP: Final = 4
_HEAD: Final = 30


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
        by_kind = [[record for record in having if record.kind == kind] for kind in kinds]
        # The first image of every kind, then the second ones, and so on.
        rounds = max((len(records) for records in by_kind), default=0)
        queues.append(
            [records[i] for i in range(rounds) for records in by_kind if i < len(records)]
        )
    longest = max((len(queue) for queue in queues), default=0)
    turns = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    return turns[:count]


def gallery(
    catalogue: Catalogue,
    records: Sequence[ImageRecord],
    models: Sequence[tuple[str, TrainedModel]],
) -> Image.Image:
    """Draw one picture: a line an image; input, ground truth, and two columns a model.

    Args:
        catalogue: Where the records are from.
        records: The images.
        models: What to call each model, and the model.
    """
    products = {product.name: product for product in catalogue.classes}
    columns: list[tuple[str, list[NDArray[np.uint8]]]] = []
    settings = models[0][1].settings.data
    samples = [load_sample(record, products[record.class_name], settings) for record in records]
    columns.append(("input", [_colour(as_unit(sample.image)) for sample in samples]))
    masks = [
        np.zeros(sample.valid.shape, bool) if sample.mask is None else sample.mask
        for sample in samples
    ]
    columns.append(("ground truth", [_grey(mask.astype(np.float32)) for mask in masks]))
    for name, model in models:
        images = torch.from_numpy(_inputs(records, model.settings.data))
        found = inspect_batch(model, images)
        columns.append((f"{name}:\nreconstruction", [_colour(r) for r in found.reconstruction]))
        columns.append((f"{name}:\nscore", [_grey(m) for m in found.score_maps]))
    return _sheet(columns)


def _inputs(records: Sequence[ImageRecord], settings: DataSettings) -> NDArray[np.float32]:
    return np.stack([as_unit(network_input(record.path, settings)[0]) for record in records])


def _colour(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] as (H, W, 3) grey levels."""
    levels: NDArray[np.uint8] = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels.transpose(1, 2, 0)


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) in [0, 1] as (H, W, 3) grey levels."""
    levels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def _sheet(columns: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]]) -> Image.Image:
    lines = len(columns[0][1])
    step = _EDGE + _GAP
    sheet = Image.new("RGB", (len(columns) * step + _GAP, _HEAD + lines * step + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for across, (heading, pictures) in enumerate(columns):
        pen.multiline_text((_GAP + across * step, _GAP), heading, fill="black", spacing=1)
        for down, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS)
            sheet.paste(small, (_GAP + across * step, _HEAD + down * step))
    return sheet
