"""What is normal for a product, place by place: a second witness beside the network's own score.

Drawn defects are not real ones; the good images themselves say more. After training, one more pass
over them fits, for each product, a Gaussian of the network's own features (`Prediction.embedding`)
at each cell of the image: whitened by the product's covariance, centred on the cell's mean, scaled
by the cell's deviation, which is shrunk to the product's. Position counts on parts that lie still
and on textures alike, whose borders look different from their middles.

The network's logit and the distance of the features both become evidence: -log10 of the share of
normal pixels, on images held out from training, that lie as far out or further. The sum has no
upper bound, so that a witness that is sure outweighs one that is not:
    evidence = 2 network + normality,   score = evidence / (evidence + 6).
Measured in docs/results/normality.md. NumPy alone, so that exports need no PyTorch. [O]
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from omnial.config.settings import ImageScore, ModelSettings, Settings
from omnial.models.prediction import Prediction
from omnial.models.scoring import image_scores

NETWORK_WEIGHT: Final = 2.0
"""Of the network's evidence; the normality's counts once. [O]"""
HALF: Final = 6.0
"""Evidence with a score of one half: one in a hundred normal pixels for both witnesses. [O]"""
COMPONENTS: Final = 48
"""Principal components of the features, at most. [O]"""
PRIOR_IMAGES: Final = 10.0
"""Weight, in images, of the product's deviation in that of a cell. [O]"""
FLOOR: Final = 0.05
"""Variance of a cell, at least; the product's is 1. [O]"""
LEVELS: Final = np.concatenate([np.linspace(0.0, 0.9, 10), 1.0 - np.geomspace(0.1, 1e-3, 12)[1:]])
"""Shares of normal pixels whose quantiles are kept."""
EVIDENCE: Final = -np.log10(1.0 - LEVELS)
"""-log10 of the share of normal pixels beyond each of these quantiles."""
TAIL_KNOTS: Final = 8
"""Last quantiles, whose slope continues beyond them: one in a hundred to one in a thousand."""
_APART: Final = 0.02  # of two quantiles, at least, in logits or deviations
_LOGIT: Final = 1e-7  # probabilities nearer to 0 or 1 count as this near
_SPREAD: Final = 1.0  # cells, of the Gaussian that blurs means and variances
_CELL = 8  # pixels of a cell's edge, where the network has such a scale


def embedded_scale(settings: ModelSettings) -> int:
    """The scale of the reconstruction's encoder that the embedding has: cells of 8x8 pixels."""
    wanted = max(_CELL // settings.stem, 1).bit_length()
    return min(wanted, len(settings.reconstruction.widths)) - 1


def embedding_shape(settings: Settings) -> tuple[int, int, int]:
    """Features, rows and columns (E, h, w) of the embedding of one network input."""
    model, scale = settings.model, embedded_scale(settings.model)
    edge = model.stem * 2**scale
    features = model.localization.widths[0] + model.reconstruction.widths[scale]
    return features, -(-settings.data.height // edge), -(-settings.data.width // edge)


def score_of(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evidence of at least 0 as a score in [0, 1)."""
    return evidence / (evidence + np.float32(HALF))


class Witnesses(NamedTuple):
    """Evidence against each pixel, float32 of at least 0: (B, H, W), of one image (H, W)."""

    network: NDArray[np.float32]
    normality: NDArray[np.float32]

    @property
    def score_maps(self) -> NDArray[np.float32]:
        """Scores in [0, 1) of both together, of the same shape."""
        return score_of(np.add(*self.weighed))

    @property
    def weighed(self) -> "Witnesses":
        """As much of each as counts in the sum."""
        return Witnesses(np.float32(NETWORK_WEIGHT) * self.network, self.normality)

    def within(self, valid: NDArray[np.bool_]) -> "Witnesses":
        """The same, with nothing against a pixel that does not count."""
        return Witnesses(*(np.where(valid, map_, np.float32(0.0)) for map_ in self))


class Normal(NamedTuple):
    """What the network gives for one normal image."""

    embedding: NDArray[np.floating[Any]]
    """(E, h, w)."""
    score_map: NDArray[np.float32]
    """(H, W), the network's probabilities."""
    valid: NDArray[np.bool_]
    """(H, W), True where scores count."""


@dataclass(frozen=True, eq=False)
class Normality:
    """What is normal for one product.

    E features of a cell, D components, a grid of gh x gw cells, K quantiles.
    """

    center: NDArray[np.float32]
    """(E,) mean of the features."""
    basis: NDArray[np.float32]
    """(D, E), from centred features to whitened components."""
    mean: NDArray[np.float32]
    """(D, gh, gw) of each cell."""
    deviation: NDArray[np.float32]
    """(D, gh, gw) of each cell, positive."""
    network_quantiles: NDArray[np.float32]
    """(K,) logits of normal pixels at `LEVELS`."""
    distance_quantiles: NDArray[np.float32]
    """(K,) distances of normal cells at `LEVELS`."""
    count: NDArray[np.float32]
    """(1,) images that means and deviations were learnt from."""

    def __post_init__(self) -> None:
        components, features = self.basis.shape if self.basis.ndim == 2 else (0, 0)
        if (
            self.center.shape != (features,)
            or self.mean.ndim != 3
            or self.mean.shape[0] != components
            or self.deviation.shape != self.mean.shape
            or self.network_quantiles.shape != LEVELS.shape
            or self.distance_quantiles.shape != LEVELS.shape
            or self.count.shape != (1,)
            or 0 in self.mean.shape
        ):
            raise ValueError("the arrays of a normality do not fit each other")
        for name, array in self.arrays().items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"a normality's {name} must be finite float32")
        if (self.deviation <= 0).any() or (self.count <= 0).any():
            raise ValueError("a normality's deviations and count must be positive")

    @classmethod
    def fit(
        cls,
        train: Sequence[NDArray[np.floating[Any]]] | NDArray[np.floating[Any]],
        held_out: Iterable[Normal],
    ) -> "Normality":
        """Learn what is normal from good images.

        Args:
            train: (E, h, w) embeddings of images that the network was trained on; at least one.
            held_out: Normal images that it was not trained on; at least one pixel counts.
        """
        center, basis = _whitening(train)
        rows, columns = (int(np.median([x.shape[axis] for x in train])) for axis in (1, 2))
        total = np.zeros((len(basis), rows, columns))
        squares = np.zeros_like(total)
        for embedding in train:
            components = on_grid(_components(embedding, center, basis), rows, columns)
            total += components
            squares += np.square(components, dtype=np.float64)
        count, blur = len(train), (0.0, _SPREAD, _SPREAD)
        mean = gaussian_filter(total / count, blur, mode="nearest")
        variance = gaussian_filter(squares / count, blur, mode="nearest") - mean**2
        usual = variance.mean((1, 2), keepdims=True)
        variance = (count * variance + PRIOR_IMAGES * usual) / (count + PRIOR_IMAGES)
        unranked = np.zeros(LEVELS.shape, np.float32)
        fitted = cls(
            *(center, basis, mean.astype(np.float32)),
            np.sqrt(np.maximum(variance, FLOOR)).astype(np.float32),
            *(unranked, unranked, np.array([count], np.float32)),
        )
        return fitted.ranked(held_out)

    def ranked(self, held_out: Iterable[Normal]) -> "Normality":
        """The same, with the quantiles of other normal images."""
        logits, distances = [], []
        for one in held_out:
            logits.append(_logits(one.score_map)[one.valid][::2])
            cells = self.distances(one.embedding[None])[0]
            distances.append(cells[on_grid(one.valid, *cells.shape)])
        network, own = (_quantiles(np.concatenate(values)) for values in (logits, distances))
        return replace(self, network_quantiles=network, distance_quantiles=own)

    def joined(self, embeddings: Sequence[NDArray[np.floating[Any]]]) -> "Normality":
        """The same, with more images that are good after all: (E, h, w) each.

        Their look becomes part of the means and deviations, each as much as an image before.
        """
        rows, columns = self.mean.shape[1:]
        new = np.stack(
            [on_grid(_components(e, self.center, self.basis), rows, columns) for e in embeddings]
        )
        before, count = float(self.count[0]), float(self.count[0]) + len(new)
        squares = before * (np.square(self.deviation) + np.square(self.mean))
        mean = (before * self.mean + new.sum(0)) / count
        variance = (squares + np.square(new).sum(0)) / count - np.square(mean)
        deviation = np.sqrt(np.maximum(variance, FLOOR))
        changed = {"mean": mean, "deviation": deviation, "count": np.array([count])}
        return replace(self, **{name: x.astype(np.float32) for name, x in changed.items()})

    def distances(self, embedding: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Root mean square of the standardised components: (B, E, h, w) to (B, h, w)."""
        rows, columns = embedding.shape[-2:]
        components = _components(embedding, self.center, self.basis)
        components -= on_grid(self.mean, rows, columns)
        components /= on_grid(self.deviation, rows, columns)
        distances: NDArray[np.float32] = np.sqrt(np.square(components).mean(-3))
        return distances

    def witnesses(self, prediction: Prediction) -> Witnesses:
        """The evidence against each pixel.

        A prediction without an embedding, such as that of a tile, leaves it to the network.
        """
        network = _tail(_logits(prediction.score_maps), self.network_quantiles)
        if prediction.embedding is None:
            return Witnesses(network, np.zeros_like(network))
        cells = _tail(self.distances(prediction.embedding), self.distance_quantiles)
        return Witnesses(network, _enlarged(cells, *network.shape[1:]))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What was learnt, by the name of each field."""
        return {name: getattr(self, name) for name in NORMALITY_ARRAYS}


NORMALITY_ARRAYS: Final = tuple(Normality.__dataclass_fields__)
"""Names of the arrays of a `Normality`."""


def with_normality(
    prediction: Prediction,
    normality: Mapping[str, Normality],
    names: Sequence[str | None],
    valid: NDArray[np.bool_],
    rule: ImageScore,
) -> Prediction:
    """The prediction with score maps and scores of network and normality together.

    Args:
        prediction: Of B images, with the network's score maps.
        normality: Of each product; without any, nothing changes but what lies outside `valid`.
        names: The product of each image. An unknown one is held to the product that has the least
            against it, pixel by pixel.
        valid: (B, H, W), True where scores count.
        rule: From score map to score.

    Raises:
        ValueError: `valid` has another shape than the maps.
    """
    maps = prediction.score_maps
    if valid.shape != maps.shape:
        raise ValueError(f"valid is {valid.shape}, the maps are {maps.shape}")
    if not normality and not maps[~valid].any():
        return prediction
    if normality:
        maps = np.stack([w.score_maps for w in witnesses_of(prediction, normality, names)])
    maps = np.where(valid, maps, np.float32(0.0))
    return prediction._replace(score_maps=maps, scores=image_scores(maps, valid, rule))


def witnesses_of(
    prediction: Prediction, normality: Mapping[str, Normality], names: Sequence[str | None]
) -> Iterator[Witnesses]:
    """The evidence against each image, (H, W); arguments as those of `with_normality`."""
    for index, name in enumerate(names):
        one = slice(index, index + 1)
        embedding = None if prediction.embedding is None else prediction.embedding[one]
        alone = prediction._replace(score_maps=prediction.score_maps[one], embedding=embedding)
        own = None if name is None else normality.get(name)
        if own is not None:
            yield Witnesses(*(maps[0] for maps in own.witnesses(alone)))
            continue
        each = [fitted.witnesses(alone) for fitted in normality.values()]
        least = np.argmin([witnesses.score_maps for witnesses in each], axis=0)[None]
        network, distance = (np.stack(maps) for maps in zip(*each, strict=True))
        found = (np.take_along_axis(maps, least, 0)[0, 0] for maps in (network, distance))
        yield Witnesses(*found)


def _whitening(
    embeddings: Sequence[NDArray[np.floating[Any]]] | NDArray[np.floating[Any]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and whitened principal components of the features, over all cells of all images."""
    features = len(embeddings[0])
    total, products, count = np.zeros(features), np.zeros((features, features)), 0
    for embedding in embeddings:
        cells = embedding.reshape(features, -1).astype(np.float32)
        total += cells.sum(1, dtype=np.float64)
        products += cells @ cells.T
        count += cells.shape[1]
    center = total / count
    covariance = products / count - np.outer(center, center)
    deviations = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    # A channel that hardly moves must not be blown up: its rounding would become evidence.
    scale = np.maximum(deviations, 0.02 * max(float(deviations.max()), 1e-12))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    largest = np.argsort(values)[::-1][:COMPONENTS]
    largest = largest[values[largest] > 1e-4 * values[largest[0]]]
    values, vectors = values[largest], vectors[:, largest]
    basis = (vectors / np.sqrt(values + 0.05 * values.mean())).T / scale
    return center.astype(np.float32), basis.astype(np.float32)


def _components(
    embedding: NDArray[np.floating[Any]], center: NDArray[np.float32], basis: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(..., E, h, w) to (..., D, h, w)."""
    centred = embedding.astype(np.float32) - center[:, None, None]
    flat = basis @ centred.reshape(*centred.shape[:-2], -1)
    return flat.reshape(*flat.shape[:-1], *embedding.shape[-2:])


def on_grid(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The nearest values on another grid of the same image: (..., h, w) to (..., rows, columns)."""
    height, width = values.shape[-2:]
    if (height, width) == (rows, columns):
        return values
    y = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    return values[..., y[:, None], x]


def _quantiles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of normal pixels at `LEVELS`, apart from each other, so that no rounding becomes evidence."""
    apart = _APART * np.arange(len(LEVELS))
    rising: NDArray[Any] = np.maximum.accumulate(np.quantile(values, LEVELS) - apart) + apart
    return rising.astype(np.float32)


def _tail(values: NDArray[np.float32], quantiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """-log10 of the share of normal values beyond; an exponential tail follows the last one."""
    run = max(quantiles[-1] - quantiles[-TAIL_KNOTS], 1e-6)
    rise = (EVIDENCE[-1] - EVIDENCE[-TAIL_KNOTS]) / run
    beyond = np.maximum(values - quantiles[-1], 0.0) * np.float32(rise)
    inside: NDArray[np.float32] = np.interp(values, quantiles, EVIDENCE).astype(np.float32)
    tail: NDArray[np.float32] = inside + beyond
    return tail


def _logits(score_maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log odds of probabilities."""
    probability = np.clip(score_maps, np.float32(_LOGIT), np.float32(1.0 - _LOGIT))
    logits: NDArray[np.float32] = np.log(probability / (np.float32(1.0) - probability))
    return logits


def _enlarged(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear, between the middles of cells: (B, h, w) to (B, height, width)."""
    rows, columns = _bilinear(cells.shape[1], height), _bilinear(cells.shape[2], width)
    pixels: NDArray[np.float32] = np.matmul(np.matmul(rows, cells), columns.T, dtype=np.float32)
    return pixels


@lru_cache(maxsize=64)
def _bilinear(cells: int, pixels: int) -> NDArray[np.float32]:
    """(pixels, cells): what each cell gives to each pixel along an axis."""
    at = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0.0, cells - 1.0)
    weights: NDArray[np.float32] = np.maximum(
        1.0 - np.abs(at[:, None] - np.arange(cells)), 0.0
    ).astype(np.float32)
    return weights
