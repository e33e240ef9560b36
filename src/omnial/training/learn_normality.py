"""After training: what is normal for each product, from its good images alone."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from omnial.config.settings import Settings
from omnial.data.dataset import ImageDataset, to_unit
from omnial.models.each_core import on_each_core
from omnial.models.normality import Normal, Normality, embedded_features, log_odds, with_normality
from omnial.models.prediction import Prediction
from omnial.models.torch_backend import predict_frames
from omnial.training import weigh_witnesses
from omnial.training.devices import choose_precision, on_gpu

MOST_IMAGES: Final = 200
"""Images of a class, at most, that normality is learnt from; its quantiles need as many. [O]"""
MOST_SUSPICIOUS: Final = (3, 12)
"""Suspicious images, at most, of a class and in all. [O]"""
_BATCH = 16


class Learnt(NamedTuple):
    """What is normal, and how the images stand out from it that it was learnt from."""

    normality: dict[str, Normality]
    """Of each class."""
    scores: NDArray[np.float64]
    """(n,) of the training images; NaN of those that it was not learnt from."""

    def suspicious(
        self,
        train_labels: Sequence[int],
        held_out: NDArray[np.float64],
        labels: NDArray[np.int64],
    ) -> list[tuple[int, float]]:
        """Training images that may not be good, and their scores, the highest first.

        They score above every held-out normal image of their class, of which there is one.

        Args:
            train_labels: (n,) class numbers of the training images.
            held_out: (m,) scores of normal images that were not trained on.
            labels: (m,) class numbers of these.
        """
        found, own = [], np.asarray(train_labels)
        for label in np.unique(labels):
            limit = held_out[labels == label].max()
            high = np.flatnonzero((own == label) & (self.scores > limit))
            found += sorted(high, key=lambda index: -self.scores[index])[: MOST_SUSPICIOUS[0]]
        worst = sorted(found, key=lambda index: -self.scores[index])[: MOST_SUSPICIOUS[1]]
        return [(int(index), float(self.scores[index])) for index in worst]


def learn_normality(
    network: nn.Module,
    settings: Settings,
    names: Sequence[str],
    train: ImageDataset,
    train_labels: Sequence[int],
    held_out: ImageDataset,
    labels: Sequence[int],
) -> Learnt:
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
    # Training images say where features lie; the tails are those of an inspection, in float32.
    on_cuda = next(network.parameters()).device.type == "cuda"
    as_trained = on_cuda == on_gpu(settings.training)
    bf16 = as_trained and choose_precision(settings.training)[0] == "bf16"
    _, pretrained = embedded_features(settings.model)
    fitted, scores = dict[str, Normality](), np.full(len(train_labels), np.nan)
    for index, name in enumerate(names):
        own = some_of_each(train_labels, MOST_IMAGES, index)
        other = some_of_each(labels, MOST_IMAGES, index)
        seen = [_small(normal) for normal in _normals(network, settings, train, own, bf16)]
        unseen = (held_out, other) if other else (train, own)
        embeddings = [normal.embedding for normal in seen]
        normality = Normality.fit(embeddings, _normals(network, settings, *unseen), pretrained)
        normality = _weighed(normality, network, settings, held_out, labels, index, bf16)
        fitted[name] = normality
        scores[own] = [_score(normal, normality, settings) for normal in seen]
    return Learnt(fitted, scores)


def _weighed(
    normality: Normality,
    network: nn.Module,
    settings: Settings,
    held_out: ImageDataset,
    labels: Sequence[int],
    label: int,
    bf16: bool,
) -> Normality:
    """The normality of a class with weights of its own, by its held-out images."""

    def look(images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        return predict_frames(network, torch.from_numpy(images), valid, settings, bf16)

    chosen = [[index] for index in some_of_each(labels, weigh_witnesses.MOST_IMAGES, label)]
    images = [
        (to_unit(held_out.images(one))[0].numpy(), held_out.regions(one)[0, 0].numpy())
        for one in chosen
    ]
    rule, seed = settings.model.image_score, settings.training.seed
    spread = partial(on_each_core, network=network)
    return weigh_witnesses.weighed(normality, images, look, rule, seed, spread)


def _small(normal: Normal) -> Normal:
    """The same in float16, with log odds in place of probabilities."""
    odds = log_odds(normal.score_map)
    return normal._replace(
        embedding=normal.embedding.astype(np.float16), score_map=odds.astype(np.float16)
    )


def _score(small: Normal, normality: Normality, settings: Settings) -> float:
    """The score of network and normality together."""
    maps = expit(small.score_map.astype(np.float32)).astype(np.float32)[None]
    valid = small.valid[None]
    embedding = small.embedding.astype(np.float32)[None]
    alone = Prediction(maps, np.zeros(1), embedding=embedding)
    rule = settings.model.image_score
    return float(with_normality(alone, {"": normality}, [""], valid, rule).scores[0])


def some_of_each(labels: Sequence[int], most: int, only: int | None = None) -> list[int]:
    """Indices of at most so many images of each class, or of one, spread over all of them."""
    own = np.asarray(labels)
    wanted = np.unique(own) if only is None else [only]
    members = [np.flatnonzero(own == label) for label in wanted]
    chosen = [m[np.linspace(0, len(m) - 1, min(len(m), most)).round().astype(int)] for m in members]
    return [int(index) for indices in chosen for index in indices]


def _normals(
    network: nn.Module,
    settings: Settings,
    dataset: ImageDataset,
    chosen: Sequence[int],
    bf16: bool = False,
) -> Iterator[Normal]:
    """What the network gives for images as they are."""

    def look(part: list[int]) -> list[Normal]:
        images, valid = to_unit(dataset.images(part)), dataset.regions(part)[:, 0].numpy()
        found = predict_frames(network, images, valid, settings, bf16)
        assert found.embedding is not None
        return list(map(Normal, found.embedding, found.score_maps, valid))

    for normals in on_each_core(look, dataset.batches(chosen, _BATCH), network):
        yield from normals
