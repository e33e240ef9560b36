"""After training: how much each witness counts for a product.

Pretrained features find a broken bottle and blur the thread of a fabric; no fixed weights serve
both. So defects of other families (`omnial.synthesis.unseen_defects`) are drawn on held-out images,
and a product takes the weights that find them. Real defects differ from drawn ones, and the network
draws sharper outlines than cells do, so that of weights that cannot be told apart those with the
most of the network are taken: the rule of Breiman et al. (Classification and Regression Trees,
1984, section 3.4.3) with two standard errors in place of one, of paired differences.
Measured in docs/results/normality.md. [O]
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import ImageScore
from omnial.metrics.ranking import average_precision, count
from omnial.models.normality import Normality, score_of
from omnial.models.prediction import Prediction
from omnial.models.scoring import image_scores
from omnial.synthesis.unseen_defects import FAMILIES, Material, draw_defect

MOST_IMAGES: Final = 16
"""Held-out images of a product, at most, that are drawn on. [O]"""
FEWEST_DEFECTS: Final = 32
"""Visible defects without which a product keeps its weights. [O]"""
COPIES: Final = 4
"""Defects of each image, of families in turn, each in a copy of its own. [O]"""
_ERRORS: Final = 2.0
"""Standard errors of a difference that is none. [O]"""
_NETWORK: Final = (3.0, 2.5, 2.0, 1.5, 1.0)
_PIXELS: Final = 5  # every fifth one is ranked: no divisor of a usual width
_MOST_DRAWN: Final = 5  # attempts at a defect that can be seen

Look = Callable[[NDArray[np.float32], NDArray[np.bool_]], Prediction]
"""Images (B, 3, H, W) in [0, 1], and where scores count (B, H, W), to what the network gives."""
Found = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Scores of an image as it is and with n defects, (1 + n, C), and how precise, (n, C)."""
Spread = Callable[[Callable[[int], Found], Iterable[int]], Iterable[Found]]
"""`map`, or the same on several cores."""
Image = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""A good image (3, H, W) in [0, 1], and where scores count (H, W)."""


def candidates(pretrained: bool) -> NDArray[np.float32]:
    """(C, 2) or (C, 3) weights of network, own and pretrained features, whose sum is 3.

    What is not the network's is all that of one kind of features, or half of either.
    """
    parts = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)) if pretrained else ((1.0,),)
    found = dict.fromkeys((n, *((3.0 - n) * part for part in p)) for n in _NETWORK for p in parts)
    return np.array(list(found), np.float32)


def weighed(
    normality: Normality,
    images: Sequence[Image],
    look: Look,
    rule: ImageScore,
    seed: int,
    spread: Spread = map,
) -> Normality:
    """The normality of a product, with the weights that find drawn defects.

    It is as it was where too few can be drawn. The images are good ones that the network was not
    trained on.
    """
    options = candidates(normality.pretrained is not None)
    found = how_well_found(normality, images, look, rule, seed, options, spread)
    if sum(map(len, found)) < FEWEST_DEFECTS:
        return normality
    # Defects on one image are found alike, so that images are what is independent.
    by_image = np.stack([each.mean(0) for each in found if len(each)])
    return replace(normality, weights=options[choose(by_image, options[:, 0])])


def how_well_found(
    normality: Normality,
    images: Sequence[Image],
    look: Look,
    rule: ImageScore,
    seed: int,
    options: NDArray[np.float32],
    spread: Spread = map,
) -> list[NDArray[np.float64]]:
    """How well each of (C, 2) or (C, 3) weights finds the n defects on each image: (n, C) in 0..1.

    The mean of two shares: of the good images that score lower, a tie being half of one; and the
    average precision of its pixels among those of the image with and without it.
    Arguments are those of `weighed`.
    """

    def found_on(index: int) -> Found:
        image, valid = images[index]
        other = images[(index + 1) % len(images)][0]
        material = Material(image, other if other.shape == image.shape else image)
        shown, masks = _drawn(material, valid, index, seed)
        inside = np.repeat(valid[None], len(shown), 0)
        all_of_them = np.ones(options.shape[1], bool)
        found_in = normality.evidence(look(shown, inside), all_of_them)
        evidence = np.stack([each for each in found_in if each is not None], -1)
        maps = [np.where(inside, score_of(evidence @ w), np.float32(0.0)) for w in options]
        found = np.stack([image_scores(one, inside, rule) for one in maps], 1)
        precise = [
            [_precision(one[[0, n]], masks[n], valid) for one in maps] for n in range(1, len(shown))
        ]
        return found, np.reshape(precise, (-1, len(options)))

    looked = list(spread(found_on, range(len(images))))
    before = np.array([found[0] for found, _ in looked])[:, None]

    def share_below(after: NDArray[np.float64]) -> NDArray[np.float64]:
        share: NDArray[np.float64] = ((before < after) + 0.5 * (before == after)).mean(0)
        return share

    return [(share_below(found[1:]) + precise) / 2 for found, precise in looked]


def choose(found: NDArray[np.float64], network: NDArray[np.float32]) -> int:
    """The number of the weights to take.

    Of those whose mean lies within two standard errors of the best, those with the most of the
    network, and of these the best. `found` is (m, C), how well each finds the defects on each of at
    least 2 images, higher being better; `network` (C,), its share in each.
    """
    means = found.mean(0)
    lead = found[:, [means.argmax()]] - found
    level = lead.mean(0) <= _ERRORS * lead.std(0, ddof=1) / np.sqrt(len(found))
    most = level & (network == network[level].max())
    return int(np.where(most, means, -np.inf).argmax())


def _drawn(
    material: Material, valid: NDArray[np.bool_], index: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The image as it is and with defects, (1 + n, 3, H, W), and where these are, (1 + n, H, W).

    `n` is at most `COPIES`; what cannot be seen is left out.
    """
    shown, masks = [material.image], [np.zeros_like(valid)]
    for number in range(index * COPIES, (index + 1) * COPIES):
        rng = np.random.default_rng((seed, number))
        family = list(FAMILIES)[number % len(FAMILIES)]
        for _ in range(_MOST_DRAWN):
            image, mask = draw_defect(material, family, rng)
            seen = mask & valid
            if seen.any():
                shown.append(image)
                masks.append(seen)
                break
    return np.stack(shown), np.stack(masks)


def _precision(
    maps: NDArray[np.float32], mask: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> float:
    """Average precision of the pixels of a good image and of the same with a defect."""
    good, bad = (each[valid][::_PIXELS] for each in maps)
    labels = np.append(np.zeros(good.size, bool), mask[valid][::_PIXELS])
    counts = count(np.append(good, bad), labels)
    return 0.0 if counts is None else average_precision(counts)
