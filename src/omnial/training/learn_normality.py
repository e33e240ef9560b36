"""After training: what is normal for each product, from its good images alone."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
from torch import nn

from omnial.config.settings import Settings
from omnial.data.dataset import ImageDataset, to_unit
from omnial.models.normality import Normal, Normality
from omnial.models.prediction import over_windows
from omnial.models.torch_backend import predict_batch

MOST_IMAGES: Final = 200
"""Images of a class, at most, that normality is learnt from; its quantiles need as many. [O]"""
_BATCH = 16


def learn_normality(
    network: nn.Module,
    settings: Settings,
    names: Sequence[str],
    train: ImageDataset,
    train_labels: Sequence[int],
    held_out: ImageDataset,
    labels: Sequence[int],
) -> dict[str, Normality]:
    """Fit the normality of each class; one class's features are in memory at a time.

    Args:
        network: The trained network.
        settings: The run.
        names: The classes.
        train: Images that the network was trained on.
        train_labels: Class number of each.
        held_out: Normal images that it has not seen. A class without any takes its training images.
        labels: Class number of each.
    """
    fitted = {}
    for index, name in enumerate(names):
        own = some_of_each(train_labels, MOST_IMAGES, index)
        other = some_of_each(labels, MOST_IMAGES, index)
        embeddings = [
            normal.embedding.astype(np.float16)
            for normal in _normals(network, settings, train, own)
        ]
        unseen = (held_out, other) if other else (train, own)
        fitted[name] = Normality.fit(embeddings, _normals(network, settings, *unseen))
    return fitted


def some_of_each(labels: Sequence[int], most: int, only: int | None = None) -> list[int]:
    """Indices of at most so many images of each class, or of one, spread over all of them."""
    own = np.asarray(labels)
    wanted = np.unique(own) if only is None else [only]
    members = [np.flatnonzero(own == label) for label in wanted]
    chosen = [m[np.linspace(0, len(m) - 1, min(len(m), most)).round().astype(int)] for m in members]
    return [int(index) for indices in chosen for index in indices]


def _normals(
    network: nn.Module, settings: Settings, dataset: ImageDataset, chosen: Sequence[int]
) -> Iterator[Normal]:
    """What the network gives for images as they are."""
    run = partial(predict_batch, network, rule=settings.model.image_score)
    for part in dataset.batches(chosen, _BATCH):
        images, valid = to_unit(dataset.images(part)), dataset.regions(part)[:, 0].numpy()
        found = over_windows(run, images.numpy(), valid, settings)
        assert found.embedding is not None
        yield from map(Normal, found.embedding, found.score_maps, valid)
