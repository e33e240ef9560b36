"""Which witness counts, by drawn defects and witnesses whose eyes are known."""

from dataclasses import replace
from typing import Any, cast
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from omnial.data.dataset import ImageDataset
from omnial.models.normality import Normal, Normality
from omnial.models.prediction import Prediction
from omnial.models.system import build_model
from omnial.models.torch_backend import predict_frames
from omnial.synthesis.unseen_defects import FAMILIES, Material, draw_defect
from omnial.training import learn_normality, weigh_witnesses
from omnial.training.weigh_witnesses import (
    Image,
    Look,
    candidates,
    choose,
    how_well_found,
    weighed,
)
from tests.training.test_validation import CLASSES, PER_CLASS, Images, normal_images, settings

SIZE, CELL = 64, 8
GRID = SIZE // CELL


def good_images(count: int) -> list[NDArray[np.float32]]:
    """Grain of (3, SIZE, SIZE) in 0.3..0.7."""
    rng = np.random.default_rng(0)
    return list(rng.uniform(0.3, 0.7, (count, 3, SIZE, SIZE)).astype(np.float32))


def looking(images: list[NDArray[np.float32]], network: bool, features: int | None) -> Look:
    """A network that may see every change, as may one of its 4 own and 4 pretrained features."""
    known = np.stack(images)

    def look(shown: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        rng = np.random.default_rng(crc32(shown.tobytes()))
        nearest = [np.abs(known - image).mean((1, 2, 3)).argmin() for image in shown]
        change = np.abs(shown - known[nearest]).max(1)
        odds = rng.normal(-3.0, 1.0, change.shape) + 30.0 * change * network
        embedding = rng.normal(size=(len(shown), 8, GRID, GRID)).astype(np.float32)
        if features is not None:
            cells = change.reshape(len(shown), GRID, CELL, GRID, CELL).max((2, 4))
            embedding[:, features] += 40.0 * cells
        return Prediction(expit(odds).astype(np.float32), np.zeros(len(shown)), None, embedding)

    return look


def fit(
    images: list[NDArray[np.float32]], valid: NDArray[np.bool_], look: Look, pretrained: int = 0
) -> Normality:
    """The normality of images that are both trained on and held out."""
    found = look(np.stack(images), np.repeat(valid[None], len(images), 0))
    assert found.embedding is not None
    held_out = [Normal(e, m, valid) for e, m in zip(found.embedding, found.score_maps, strict=True)]
    return Normality.fit(found.embedding, held_out, pretrained)


def fitted_and_weighed(network: bool, features: int | None, count: int = 12) -> Normality:
    images, valid = good_images(count), np.ones((SIZE, SIZE), bool)
    look = looking(images, network, features)
    fitted = fit(images, valid, look, pretrained=4)
    return weighed(fitted, [(image, valid) for image in images], look, "top_mean", seed=0)


@pytest.mark.parametrize(
    ("network", "features", "witness"), [(True, None, 0), (False, 1, 1), (False, 6, 2)]
)
def test_the_witness_that_sees_the_defects_counts_most(
    network: bool, features: int | None, witness: int
) -> None:
    weights = fitted_and_weighed(network, features).weights
    assert weights.argmax() == witness
    assert weights.sum() == pytest.approx(3.0)
    # The network keeps a share where others are right, and all of it where they are not.
    assert weights[0] == (3.0 if witness == 0 else 1.0)


def test_each_defect_is_found_as_a_naive_loop_says() -> None:
    """Families in turn, the next image as the other one, the region alone, both shares."""
    images, valid = good_images(5), np.zeros((SIZE, SIZE), bool)
    valid[:, 10:] = True
    look = looking(images, True, 6)
    fitted = fit(images, valid, look, pretrained=4)
    options = np.float32([[3, 0, 0], [1, 0.5, 1.5]])

    def maps(shown: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        """Of each weights: the evidence of each image, as a score."""
        seen = look(shown, np.repeat(valid[None], len(shown), 0))
        alone = [replace(fitted, weights=np.float32(w)) for w in 3 * np.eye(3)]
        # All of the weight is the witness's own, so that a third of what it says is its evidence.
        each = [one.witnesses(seen).total.astype(float) / 3 for one in alone]
        sums = [sum(w * e for w, e in zip(o, each, strict=True)) for o in options]
        return [one / (one + 6) for one in sums]

    def score(one: NDArray[np.float64]) -> float:
        values = np.sort(one[valid])
        return float(values[-max(1, round(0.002 * values.size)) :].mean())

    normal, expected = np.zeros((5, 2)), []
    for index, image in enumerate(images):
        material, shown, masks = Material(image, images[(index + 1) % 5]), [image], [valid & False]
        for number in range(4 * index, 4 * index + 4):
            rng = np.random.default_rng((3, number))
            mask = valid & False
            while not mask.any():
                defective, mask = draw_defect(material, list(FAMILIES)[number % 8], rng)
                mask = mask & valid
            shown.append(defective)
            masks.append(mask)
        scored = maps(np.stack(shown))
        normal[index] = [score(one[0]) for one in scored]
        for n in (1, 2, 3, 4):
            labels = np.append(np.zeros_like(masks[n][valid][::5]), masks[n][valid][::5])
            pairs = [np.append(one[0][valid][::5], one[n][valid][::5]) for one in scored]
            precise = [average_precision_score(labels, pair) for pair in pairs]
            expected.append(([score(one[n]) for one in scored], precise))
    below = [[(normal[:, c] < s[c]).mean() for c in (0, 1)] for s, _ in expected]
    wanted = (np.array(below) + np.array([p for _, p in expected])) / 2
    found = how_well_found(fitted, [(one, valid) for one in images], look, "top_mean", 3, options)
    assert [len(each) for each in found] == [4] * 5
    matrix = np.concatenate(found)
    np.testing.assert_allclose(matrix, wanted, atol=1e-4)
    assert np.ptp(matrix[:, 0] - matrix[:, 1]) > 0.01


def test_images_of_different_sizes_are_drawn_on() -> None:
    """Each with itself as the other one, where its neighbour does not fit."""
    images, valid = good_images(12), np.ones((SIZE, SIZE), bool)
    look = looking(images, True, None)
    fitted = fit(images, valid, look)
    wide = np.concatenate((images[0], images[1]), 2)

    def any_size(shown: NDArray[np.float32], inside: NDArray[np.bool_]) -> Prediction:
        seen = look(shown[..., :SIZE], inside[..., :SIZE])
        odd = np.repeat(seen.score_maps, shown.shape[-1] // SIZE, 2)
        return seen._replace(score_maps=odd)

    mixed: list[Image] = [(images[0], valid), (wide, np.ones(wide.shape[1:], bool))] * 6
    found = how_well_found(fitted, mixed, any_size, "top_mean", 0, candidates(False))
    assert {each.shape[1] for each in found} == {5}
    assert sum(map(len, found)) > 32


def test_what_is_learnt_as_normal_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class by its own held-out images."""
    asked = []

    def spy(normality: Normality, images: list[Image], *_: object) -> Normality:
        asked.append(np.mean([image.mean() for image, _ in images]))
        return replace(normality, weights=np.float32([0.5, 2.5]))

    monkeypatch.setattr(weigh_witnesses, "weighed", spy)
    wanted = settings("model.normality=own")
    store = cast(ImageDataset, Images(normal_images()))
    labels = [0] * PER_CLASS + [1] * PER_CLASS
    network = build_model(wanted.model).eval()
    learnt = learn_normality.learn_normality(network, wanted, CLASSES, store, labels, store, labels)
    assert [one.weights.tolist() for one in learnt.normality.values()] == [[0.5, 2.5]] * 2
    assert asked[0] > asked[1] + 0.3  # bright ones, then dark ones


def test_thresholds_of_normality_are_learnt_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bf16 is in hardware, training images and drawn defects are predicted in it alone."""
    asked = set()

    def spy(network: nn.Module, images: Tensor, *more: Any) -> Prediction:
        found = predict_frames(network, images, *more)
        kind = "train" if (images[:, 0, 0, 0] == 1.0).all() else "held out"
        asked.add((kind if len(images) == PER_CLASS else "drawn", more[2]))
        return found

    monkeypatch.setattr(learn_normality, "predict_frames", spy)
    good = normal_images()
    trained_on = good.clone()
    trained_on[:, 0, 0, 0] = 1.0
    train, held_out = (cast(ImageDataset, Images(some)) for some in (trained_on, good))
    labels = [0] * PER_CLASS + [1] * PER_CLASS
    for precision in ("bf16", "fp32"):
        asked.clear()
        wanted = settings("model.normality=own", f"training.precision={precision}")
        network = build_model(wanted.model).eval()
        learn_normality.learn_normality(network, wanted, CLASSES, train, labels, held_out, labels)
        quick = precision == "bf16"
        assert asked == {("train", quick), ("drawn", quick), ("held out", False)}


def test_defects_on_one_image_are_no_independent_witnesses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Features find all defects of half the images: by the defects that is sure, by images not."""
    found = [np.tile([[0.5, 0.535 + 0.1 * (-1) ** number]], (4, 1)) for number in range(10)]
    monkeypatch.setattr(weigh_witnesses, "how_well_found", lambda *_: found)
    monkeypatch.setattr(weigh_witnesses, "candidates", lambda _: np.float32([[3, 0], [2, 1]]))
    images, valid = good_images(12), np.ones((SIZE, SIZE), bool)
    look = looking(images, True, None)
    chosen = weighed(fit(images, valid, look), [], look, "top_mean", 0)
    assert chosen.weights.tolist() == [3.0, 0.0]
    assert choose(np.concatenate(found), np.float32([3, 2])) == 1


def test_too_few_images_leave_the_usual_weights() -> None:
    assert fitted_and_weighed(False, 1, count=7).weights == pytest.approx([4 / 3, 1 / 3, 4 / 3])


def test_nothing_but_the_weights_changes_and_regions_are_kept_to() -> None:
    """Defects outside of the region do not count: there, nothing is left to choose by."""
    images, nowhere = good_images(12), np.zeros((SIZE, SIZE), bool)
    look = looking(images, True, None)
    everywhere = ~nowhere
    fitted = fit(images, everywhere, look)
    hidden: list[Image] = [(image, nowhere) for image in images]
    assert weighed(fitted, hidden, look, "top_mean", seed=0) is fitted
    seen: list[Image] = [(image, everywhere) for image in images]
    changed = weighed(fitted, seen, look, "top_mean", seed=0)
    again = replace(changed, weights=fitted.weights).arrays()
    for name, array in fitted.arrays().items():
        np.testing.assert_array_equal(again[name], array)


def test_candidates_sum_to_three_and_begin_with_the_network_alone() -> None:
    for pretrained, count in ((False, 5), (True, 13)):
        options = candidates(pretrained)
        assert options.shape == (count, 3 if pretrained else 2)
        np.testing.assert_allclose(options.sum(1), 3.0)
        assert len(np.unique(options, axis=0)) == count
        assert options[0, 0] == 3.0


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 9))
def test_the_choice_is_that_of_a_naive_loop(seed: int, defects: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    found = rng.normal(rng.normal(size=count), 1.0, (defects, count))
    network = rng.integers(0, 4, count).astype(np.float32)
    means = [sum(found[:, c]) / defects for c in range(count)]
    best = max(range(count), key=lambda c: means[c])
    able = []
    for c in range(count):
        lead = [found[d, best] - found[d, c] for d in range(defects)]
        mean = sum(lead) / defects
        error = (sum((one - mean) ** 2 for one in lead) / (defects - 1) / defects) ** 0.5
        if mean <= 2 * error + 1e-12:
            able.append(c)
    most = max(network[c] for c in able)
    expected = max((c for c in able if network[c] == most), key=lambda c: means[c])
    assert choose(found, network) == expected
