"""What is normal for a product, place by place: more witnesses beside the network's own score.

Drawn defects are not real ones; the good images themselves say more. After training, one more pass
over them fits, for each product, a Gaussian of features at each cell of the image
(`omnial.models.position_gaussian`): of the network's own, and with `own+pretrained` one of
pretrained features beside it. Both are parts of `Prediction.embedding`. Position counts on parts
that lie still and on textures alike, whose borders look different from their middles.

The network's logit and the distances of the features all become evidence: -log10 of the share of
normal pixels, on images held out from training, that lie as far out or further. The sum has no
upper bound, so that a witness that is sure outweighs one that is not:
    evidence = a network + b normality + c pretrained,   score = evidence / (evidence + 6).
Which of them is right differs from product to product, so that each has weights of its own, which
`omnial.training.weigh_witnesses` chooses after training; their sum is 3.
Features know a cell, the network knows a pixel: of a cell's evidence a pixel gets the share
    ((network + 6) / (the network's highest within a cell's reach + 6))^2,
so that a thin defect keeps its outline, and all of it where the network sees no difference.
Measured in docs/results/normality.md. NumPy alone, so that exports need no PyTorch. [O]
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from omnial.config.settings import ImageScore, ModelSettings, Settings
from omnial.models.position_gaussian import (
    GAUSSIAN_ARRAYS,
    LEVELS,
    Cells,
    PositionGaussian,
    enlarged,
    highest,
    on_grid,
    quantiles,
    tail,
)
from omnial.models.prediction import Prediction
from omnial.models.scoring import image_scores

USUAL_WEIGHTS: Final[Mapping[bool, tuple[float, ...]]] = {
    False: (2.0, 1.0),
    True: (4 / 3, 1 / 3, 4 / 3),
}
"""Of the evidence of network, normality and pretrained features, without and with the last, for a
product with too few held-out images to choose its own. [O]"""
HALF: Final = 6.0
"""Evidence with a score of one half: one in a hundred normal pixels for every witness. [O]"""
PRETRAINED: Final = "pretrained."
"""Before the names of the arrays of a normality's pretrained features."""
PRETRAINED_FEATURES: Final = 40
"""Of a cell, see `omnial.models.efficientnet`."""
LEAST: Final = 1e-7
"""Probabilities nearer to 0 or 1 count as this near."""
_PLAIN_ARRAYS = ("network_quantiles", "weights", "accepted")
_FINER = 4  # cells of accepted evidence in the edge of a cell of features
_SHARED = 0.25  # of the images that are good after all, with the same in one place
_ROUNDING = 1e-3  # of the sum of the weights
_CELL = 8  # pixels of a cell's edge, where the network has such a scale


def embedded_scale(settings: ModelSettings) -> int:
    """The scale of the reconstruction's encoder that the embedding has: cells of 8x8 pixels."""
    wanted = max(_CELL // settings.stem, 1).bit_length()
    return min(wanted, len(settings.reconstruction.widths)) - 1


def embedded_features(settings: ModelSettings) -> tuple[int, int]:
    """Features of a cell of the embedding: the network's own, and after them the pretrained."""
    own = settings.localization.widths[0] + settings.reconstruction.widths[embedded_scale(settings)]
    return own, PRETRAINED_FEATURES if settings.normality == "own+pretrained" else 0


def embedding_shape(settings: Settings) -> tuple[int, int, int]:
    """Features, rows and columns (E, h, w) of the embedding of one network input."""
    edge = settings.model.stem * 2 ** embedded_scale(settings.model)
    rows, columns = -(-settings.data.height // edge), -(-settings.data.width // edge)
    return sum(embedded_features(settings.model)), rows, columns


def reach(size: Sequence[int], grid: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the window of pixels that a cell's evidence is spread over: odd."""
    height, width = (2 * -(-pixels // cells) + 1 for pixels, cells in zip(size, grid, strict=True))
    return height, width


def score_of(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evidence of at least 0 as a score in [0, 1)."""
    return evidence / (evidence + np.float32(HALF))


class Witnesses(NamedTuple):
    """Evidence against each pixel as far as it counts in the sum: times its witness's weight.

    float32 of at least 0: (B, H, W), of one image (H, W). None for a witness that does not count.
    """

    network: NDArray[np.float32]
    normality: NDArray[np.float32] | None = None
    """Of the network's own features."""
    pretrained: NDArray[np.float32] | None = None
    """Of the pretrained ones."""

    @property
    def total(self) -> NDArray[np.float32]:
        """The evidence of all together, of the same shape."""
        evidence: NDArray[np.float32] = sum(self.named().values(), start=np.zeros((), np.float32))
        return evidence

    @property
    def score_maps(self) -> NDArray[np.float32]:
        """Scores in [0, 1) of all together, of the same shape."""
        return score_of(self.total)

    def named(self) -> dict[str, NDArray[np.float32]]:
        """The evidence of each witness that counts."""
        return {name: map_ for name, map_ in self._asdict().items() if map_ is not None}

    def within(self, valid: NDArray[np.bool_]) -> "Witnesses":
        """The same, with nothing against a pixel that does not count."""
        nothing = np.float32(0.0)
        return Witnesses(**{k: np.where(valid, map_, nothing) for k, map_ in self.named().items()})


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
    """What is normal for one product, K quantiles."""

    network_quantiles: NDArray[np.float32]
    """(K,) logits of normal pixels at `LEVELS`."""
    weights: NDArray[np.float32]
    """(2,) or (3,) of the evidence of network, own and pretrained features; their sum is 3."""
    accepted: NDArray[np.float32]
    """(gh, gw) evidence of all witnesses together that counts for nothing, in each cell of a grid:
    what people called false alarms showed there."""
    own: PositionGaussian
    """Of the network's own features."""
    pretrained: PositionGaussian | None = None
    """Of the pretrained ones, with `own+pretrained`."""

    def __post_init__(self) -> None:
        quantiles = self.network_quantiles
        if quantiles.shape != LEVELS.shape or quantiles.dtype != np.float32:
            raise ValueError(f"a normality's network_quantiles must be float32 of {LEVELS.shape}")
        if not np.isfinite(quantiles).all():
            raise ValueError("a normality's network_quantiles must be finite")
        weights = self.weights
        if weights.shape != (2 if self.pretrained is None else 3,) or weights.dtype != np.float32:
            raise ValueError("a normality's weights must be float32, one for each witness")
        if not ((weights >= 0).all() and abs(float(weights.sum()) - 3.0) < _ROUNDING):
            raise ValueError("a normality's weights must sum to 3, and none be negative")
        accepted = self.accepted
        if accepted.ndim != 2 or accepted.size == 0 or accepted.dtype != np.float32:
            raise ValueError("a normality's accepted evidence must be float32 of a grid")
        if not (np.isfinite(accepted).all() and (accepted >= 0).all()):
            raise ValueError("a normality's accepted evidence must be finite and not negative")

    @classmethod
    def fit(cls, train: Cells, held_out: Iterable[Normal], pretrained: int = 0) -> "Normality":
        """Learn what is normal from good images; the weights are the usual ones.

        Args:
            train: (E, h, w) embeddings of images that the network was trained on; at least one.
            held_out: Normal images that it was not trained on; at least one pixel counts.
            pretrained: How many of the E features, the last ones, are not the network's own.
        """
        own = len(train[0]) - pretrained
        looks = [PositionGaussian.fit([one[:own] for one in train])]
        if pretrained:
            looks.append(PositionGaussian.fit([one[own:] for one in train]))
        logits, distances = [], [list[NDArray[np.float32]]() for _ in looks]
        for normal in held_out:
            # Every third: every second is the same columns of a usual width, row after row.
            logits.append(log_odds(normal.score_map)[normal.valid][::3])
            counts = highest(normal.valid, *normal.embedding.shape[1:])
            parts = np.split(normal.embedding, [own])
            for look, part, found in zip(looks, parts, distances, strict=False):
                found.append(look.distances(part)[counts])
        ranked = [look.ranked(found) for look, found in zip(looks, distances, strict=True)]
        weights = np.array(USUAL_WEIGHTS[pretrained > 0], np.float32)
        return cls(quantiles(logits), weights, np.zeros((1, 1), np.float32), *ranked)

    @property
    def weight_of(self) -> dict[str, float]:
        """The weight of each witness, by the names of `Witnesses`."""
        return dict(zip(Witnesses._fields, self.weights.tolist(), strict=False))

    def accepting(self, totals: Iterable[NDArray[np.float32]], score: float) -> "Normality":
        """The same, for which the evidence against images that are good after all counts less.

        What a quarter of them, and at least two, show in the same cell, such as a scratch in the
        camera's window or a fixture, counts for nothing there if it alone would reach the score;
        what each shows elsewhere, such as dust, would make the product blind there and stays.

        Args:
            totals: (H, W) evidence against each image, as by `Witnesses.total`.
            score: The threshold that called them anomalous.
        """
        rows, columns = (_FINER * cells for cells in self.own.mean.shape[1:])
        cells = np.stack([highest(one, rows, columns) for one in totals])
        share = max(2, math.ceil(_SHARED * len(cells)))
        if len(cells) < share:
            return self
        shown = np.sort(cells, axis=0)[-share]
        shown[score_of(shown) < score] = 0.0
        # Pixels between two cells, and parts that lie a little aside, see both.
        shown = maximum_filter(shown, 3, mode="nearest")
        return replace(self, accepted=on_grid(self.accepted, rows, columns) + shown)

    def evidence(
        self, prediction: Prediction, counts: NDArray[np.bool_]
    ) -> list[NDArray[np.float32] | None]:
        """The evidence of each witness against each pixel, (B, H, W), before all weights.

        None for features that do not count, and for all of them where a prediction has no
        embedding, such as that of a tile, which leaves it to the network.
        """
        network = tail(log_odds(prediction.score_maps), self.network_quantiles)
        found: list[NDArray[np.float32] | None] = [network, *(None for _ in counts[1:])]
        if prediction.embedding is None or not counts[1:].any():
            return found
        size, grid = network.shape[1:], prediction.embedding.shape[-2:]
        near = maximum_filter(network, (1, *reach(size, grid)), mode="nearest")
        share = np.square((network + np.float32(HALF)) / (near + np.float32(HALF)))
        parts = np.split(prediction.embedding, [self.own.center.size], -3)
        for index, (look, part) in enumerate(zip(self._looks, parts, strict=False), start=1):
            if counts[index]:
                found[index] = share * look.evidence(part, *size)
        return found

    def witnesses(self, prediction: Prediction) -> Witnesses:
        """The evidence against each pixel: by the weights, and without what is accepted."""
        found = self.evidence(prediction, self.weights > 0)
        pairs = zip(Witnesses._fields, self.weights, found, strict=False)
        witnesses = Witnesses(**{k: weight * one for k, weight, one in pairs if one is not None})
        if prediction.embedding is None or not self.accepted.any():
            return witnesses
        total = witnesses.total
        left = np.maximum(total - enlarged(self.accepted[None], *total.shape[1:]), np.float32(0.0))
        share = left / np.maximum(total, np.finfo(np.float32).tiny)
        return Witnesses(**{name: share * one for name, one in witnesses.named().items()})

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What was learnt; the names of pretrained features begin with `PRETRAINED`."""
        arrays = {name: getattr(self, name) for name in _PLAIN_ARRAYS} | self.own.arrays()
        if self.pretrained is not None:
            arrays |= {PRETRAINED + k: array for k, array in self.pretrained.arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> "Normality":
        """What `arrays` gave; a ValueError where they do not fit each other."""
        looks = [PositionGaussian(**{name: arrays[name] for name in GAUSSIAN_ARRAYS})]
        if PRETRAINED + GAUSSIAN_ARRAYS[0] in arrays:
            more = {name: arrays[PRETRAINED + name] for name in GAUSSIAN_ARRAYS}
            looks.append(PositionGaussian(**more))
        quantiles, weights, accepted = (arrays[name] for name in _PLAIN_ARRAYS)
        return cls(quantiles, weights, accepted, *looks)

    @property
    def _looks(self) -> list[PositionGaussian]:
        """Of own and, where there are any, pretrained features."""
        return [self.own] if self.pretrained is None else [self.own, self.pretrained]


NORMALITY_ARRAYS: Final = (
    *_PLAIN_ARRAYS,
    *GAUSSIAN_ARRAYS,
    *(PRETRAINED + name for name in GAUSSIAN_ARRAYS),
)
"""Names of the arrays that a `Normality` may have."""


def with_normality(
    prediction: Prediction,
    normality: Mapping[str, Normality],
    names: Sequence[str | None],
    valid: NDArray[np.bool_],
    rule: ImageScore,
) -> Prediction:
    """The prediction with score maps and scores of network and normality together.

    `names` are the products of B images; an unknown one is held to the product that has the least
    against it, pixel by pixel. Scores count where `valid`, (B, H, W); without any normality,
    nothing changes but what lies outside.
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
            found = own.witnesses(alone).named()
            yield Witnesses(**{name: maps[0] for name, maps in found.items()})
            continue
        each = [fitted.witnesses(alone) for fitted in normality.values()]
        least = np.argmin([witnesses.score_maps for witnesses in each], axis=0)[None]
        nothing, found = np.zeros_like(alone.score_maps), dict[str, NDArray[np.float32]]()
        for kind in dict.fromkeys(kind for one in each for kind in one.named()):
            maps = np.stack([one.named().get(kind, nothing) for one in each])
            found[kind] = np.take_along_axis(maps, least, 0)[0, 0]
        yield Witnesses(**found)


def log_odds(score_maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log odds of probabilities."""
    probability = np.clip(score_maps, np.float32(LEAST), np.float32(1.0 - LEAST))
    odds: NDArray[np.float32] = np.log(probability / (np.float32(1.0) - probability))
    return odds
