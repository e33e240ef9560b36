import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from omnial.attacks.pgd import Ball, Schedule, attack, undisturbed
from omnial.config.load import load_settings
from omnial.models import position_gaussian as module
from omnial.models.normality import (
    NORMALITY_ARRAYS,
    PRETRAINED_FEATURES,
    Normal,
    Normality,
    Witnesses,
    embedded_features,
    embedding_shape,
    with_normality,
)
from omnial.models.normality_network import NormalityNetwork
from omnial.models.position_gaussian import LEVELS, PositionGaussian
from omnial.models.prediction import Prediction, over_windows
from omnial.models.system import build_model
from omnial.models.torch_backend import predict_batch
from omnial.robustness.objectives import score_objective
from omnial.sample_random import SampleRandom
from tests.pretrained import random_network

FEATURES, ROWS, COLUMNS, EDGE = 6, 5, 7, 4


def embeddings(count: int, seed: int) -> NDArray[np.float32]:
    """Correlated features whose mean and deviation differ from cell to cell."""
    random = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    mixing = fixed.normal(size=(FEATURES, FEATURES))
    means = 2.0 * fixed.normal(size=(FEATURES, 1, COLUMNS))
    noise = np.einsum("ef,nfyx->neyx", mixing, random.normal(size=(count, FEATURES, ROWS, COLUMNS)))
    found: NDArray[np.float32] = (10.0 + means + noise).astype(np.float32)
    return found


def normals(count: int, seed: int) -> list[Normal]:
    random = np.random.default_rng(seed)
    maps = random.random((count, ROWS * EDGE, COLUMNS * EDGE), np.float32) ** 3
    return [
        Normal(e, m, np.ones(m.shape, bool))
        for e, m in zip(embeddings(count, seed), maps, strict=True)
    ]


def fit(train: int = 60, held_out: int = 40) -> Normality:
    return Normality.fit(embeddings(train, 1), normals(held_out, 2))


def evidence(fitted: Normality, found: Prediction) -> list[NDArray[np.float32]]:
    """Of every witness, unweighed."""
    each = fitted.evidence(found, np.ones(len(fitted.weights), bool))
    return [one for one in each if one is not None]


def prediction(embedding: NDArray[Any] | None, seed: int = 0, count: int = 2) -> Prediction:
    maps = np.random.default_rng(seed).random((count, ROWS * EDGE, COLUMNS * EDGE), np.float32)
    return Prediction(maps, maps.max((1, 2)).astype(float), None, embedding)


def fit_own(train: int = 60, held_out: int = 40) -> PositionGaussian:
    return fit(train, held_out).own


def test_distances_are_those_of_a_naive_loop() -> None:
    fitted, new = fit_own(), embeddings(3, 5)
    expected = np.zeros((3, ROWS, COLUMNS))
    for image in range(3):
        for y in range(ROWS):
            for x in range(COLUMNS):
                centred = new[image, :, y, x].astype(float) - fitted.center
                z = fitted.basis.astype(float) @ centred
                z = (z - fitted.mean[:, y, x]) / fitted.deviation[:, y, x]
                expected[image, y, x] = math.sqrt((z * z).mean())
    np.testing.assert_allclose(fitted.distances(new), expected, rtol=1e-4)


def test_components_are_white_at_their_place_and_cells_centred() -> None:
    fitted, new = fit_own(400), embeddings(400, 7)
    z = module._components(new, fitted.center, fitted.basis)
    z -= z.mean(0)  # columns differ by much more than images do
    covariance = np.cov(z.transpose(1, 0, 2, 3).reshape(len(z[0]), -1))
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=0.05)
    # The weakest components are damped: their rounding must not count.
    assert 0.4 < np.diag(covariance).min() <= np.diag(covariance).max() < 1.1
    # Columns that differ by much widen the deviations of their neighbours a little.
    assert 0.75 < fitted.distances(new).mean() < 1.05


@pytest.mark.parametrize("count", [1, 3])
def test_images_that_are_all_the_same_vary_from_place_to_place(count: int) -> None:
    one = embeddings(1, 1)
    fitted = PositionGaussian.fit(np.repeat(one, count, 0))
    assert fitted.basis.shape[0] == FEATURES
    moved = one.copy()
    moved[0, :, 2, 3] += 8.0
    assert fitted.distances(one).max() < 1.0 < fitted.distances(moved)[0, 2, 3]


def test_normal_pixels_have_the_evidence_of_their_rank() -> None:
    fitted, new = fit(200, 300), normals(300, 11)
    embedding = np.stack([one.embedding for one in new])
    maps = np.stack([one.score_map for one in new])
    network, _ = evidence(fitted, Prediction(maps, np.zeros(300), None, embedding))
    cells = module.tail(fitted.own.distances(embedding), fitted.own.distance_quantiles)
    for found in (network, cells):
        for wanted in (0.5, 1.0, 2.0):
            share = (found > wanted).mean()
            assert math.isclose(-math.log10(share), wanted, abs_tol=0.15)


def test_a_moved_feature_stands_out_where_it_moved() -> None:
    fitted, new = fit(), embeddings(1, 5)
    new[0, :, 2, 3] += 8.0
    _, (found,) = evidence(fitted, prediction(new, count=1))
    assert np.unravel_index(found.argmax(), found.shape)[0] // EDGE == 2
    assert np.unravel_index(found.argmax(), found.shape)[1] // EDGE == 3
    assert found.max() > 3.0


def test_evidence_of_a_cell_is_shared_out_as_the_networks_highest_within_reach_says() -> None:
    fitted, one = fit(), prediction(embeddings(1, 5), count=1)
    assert one.embedding is not None
    (seen,), (normality,) = evidence(fitted, one)
    network, (height, width) = seen.astype(float), seen.shape
    cells = fitted.own.evidence(one.embedding, height, width)[0]
    for y in range(height):
        for x in range(width):
            near = network[max(y - EDGE, 0) : y + EDGE + 1, max(x - EDGE, 0) : x + EDGE + 1]
            expected = cells[y, x] * ((network[y, x] + 6.0) / (near.max() + 6.0)) ** 2
            assert math.isclose(normality[y, x], expected, rel_tol=1e-5, abs_tol=1e-6)


def test_where_the_network_sees_no_difference_evidence_is_that_of_the_cells() -> None:
    fitted, new = fit(), embeddings(1, 5)
    flat = np.full((1, ROWS * EDGE, COLUMNS * EDGE), 0.4, np.float32)
    found = fitted.witnesses(Prediction(flat, np.zeros(1), None, new))
    np.testing.assert_array_equal(found.normality, fitted.own.evidence(new, *flat.shape[1:]))


def test_the_tail_goes_on_where_no_normal_pixel_was() -> None:
    quantiles = np.linspace(1.0, 2.0, len(LEVELS), dtype=np.float32)
    values = np.linspace(0.0, 9.0, 500, dtype=np.float32)
    evidence = module.tail(values, quantiles)
    assert evidence[0] == 0.0
    assert (np.diff(evidence[values > 1.0]) > 0).all()
    beyond = evidence[values > 2.1]
    np.testing.assert_allclose(np.diff(beyond, 2), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.interp(2.0, values, evidence), 3.0, atol=0.05)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 70), st.integers(1, 70))
@settings(deadline=None, max_examples=50)
def test_cells_are_enlarged_as_pytorch_does(h: int, w: int, height: int, width: int) -> None:
    cells = np.random.default_rng(h * w).random((2, h, w), np.float32)
    expected = F.interpolate(
        torch.from_numpy(cells)[:, None], (height, width), mode="bilinear", align_corners=False
    )[:, 0]
    found = module.enlarged(cells, height, width)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_score_is_the_evidence_in_closed_form() -> None:
    found = Witnesses(np.float32([[[0.0, 2.0, 6.0]]]), np.float32([[[0.0, 4.0, 0.0]]]))
    np.testing.assert_allclose(found.score_maps, [[[0.0, 0.5, 0.5]]])


def test_evidence_counts_as_much_as_the_weight_of_its_witness() -> None:
    fitted, found = fit(), prediction(embeddings(2, 8))
    network, normality = evidence(fitted, found)
    other = dataclasses.replace(fitted, weights=np.float32([0.5, 2.5])).witnesses(found)
    np.testing.assert_allclose(other.network, 0.5 * network, rtol=1e-6)
    np.testing.assert_allclose(other.normality, 2.5 * normality, rtol=1e-6)
    alone = dataclasses.replace(fitted, weights=np.float32([3.0, 0.0])).witnesses(found)
    assert list(alone.named()) == ["network"]
    np.testing.assert_allclose(alone.score_maps, 3 * network / (3 * network + 6), rtol=1e-5)
    assert fitted.weight_of == {"network": 2.0, "normality": 1.0}


@pytest.mark.parametrize("alone", [False, True])
def test_an_unknown_product_has_the_least_evidence_of_all(alone: bool) -> None:
    b = Normality.fit(embeddings(50, 21) + 3.0, normals(30, 22))
    if alone:
        b = dataclasses.replace(b, weights=np.float32([3.0, 0.0]))
    known = {"a": fit(), "b": b}
    found = prediction(embeddings(2, 8))
    valid = np.ones(found.score_maps.shape, bool)
    of = {
        name: with_normality(found, known, [name] * 2, valid, "top_mean").score_maps
        for name in ("a", "b", None)
    }
    assert (of["a"] != of["b"]).any()
    np.testing.assert_array_equal(of[None], np.minimum(of["a"], of["b"]))
    one_each = with_normality(found, known, ["a", "b"], valid, "top_mean").score_maps
    np.testing.assert_array_equal(one_each, [of["a"][0], of["b"][1]])


def test_outside_the_region_nothing_counts_and_nothing_else_changes_without_normality() -> None:
    found = prediction(None)
    valid = np.zeros(found.score_maps.shape, bool)
    valid[:, :9] = True
    same = with_normality(found, {}, ["a", None], valid, "top_mean")
    np.testing.assert_array_equal(same.score_maps, np.where(valid, found.score_maps, 0))
    alone = with_normality(found, {"a": fit()}, ["a", None], valid, "top_mean")
    order = np.argsort(found.score_maps[0, :9].ravel(), kind="stable")
    assert (np.diff(alone.score_maps[0, :9].ravel()[order]) >= 0).all()
    assert not alone.score_maps[:, 9:].any()


@pytest.mark.parametrize("images", [1, 2])
def test_few_images_and_channels_that_never_move_give_finite_evidence(images: int) -> None:
    train = embeddings(images, 1)
    train[:, 3] = 7.0
    fitted = Normality.fit(train, normals(1, 2))
    found = fitted.witnesses(prediction(embeddings(2, 3)))
    assert np.isfinite(found.score_maps).all()


def test_a_thin_region_of_interest_counts_in_every_cell_that_it_meets() -> None:
    """Also where it passes between the middles of cells."""
    images, found = [], fit_own()
    for one in normals(40, 2):
        valid = np.zeros_like(one.valid)
        valid[4:6] = True
        images.append(one._replace(valid=valid))
    fitted = Normality.fit(embeddings(60, 1), images).own
    expected = [found.distances(one.embedding)[1] for one in images]
    np.testing.assert_array_equal(fitted.distance_quantiles, module.quantiles(expected))


def test_a_frame_of_another_size_is_compared_at_the_same_share_of_it() -> None:
    fitted = fit_own()
    twice = np.repeat(np.repeat(embeddings(1, 4), 2, axis=2), 2, axis=3)
    expected = np.repeat(np.repeat(fitted.distances(embeddings(1, 4)), 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(fitted.distances(twice), expected, rtol=1e-5)


@pytest.mark.parametrize(("shared", "images"), [(1, 1), (1, 2), (2, 2), (1, 4), (2, 8), (2, 9)])
def test_what_false_alarms_share_counts_for_nothing_in_its_place(shared: int, images: int) -> None:
    """What a quarter of them, and at least two, show in one place: so far as all of these do."""
    height, width = ROWS * EDGE, COLUMNS * EDGE
    totals = np.full((images, height, width), 2.0, np.float32)
    totals[:shared, 4:6, 6:20] = 12.0 + np.arange(shared)[:, None, None]  # a scratch
    totals[np.arange(images), 16, 2 * np.arange(images) + 5] = 30.0  # dust, elsewhere on each
    fitted = fit().accepting(iter(totals), score=0.5)
    expected = np.zeros((height, width))
    if (shared, images) in {(2, 2), (2, 8)}:
        assert fitted.accepted.shape == (4 * ROWS, 4 * COLUMNS)
        expected[3:7, 5:21] = 12.0  # and the pixels around
    accepted = np.broadcast_to(fitted.accepted, expected.shape)
    np.testing.assert_allclose(accepted, expected, rtol=1e-6)
    twice = fitted.accepting([totals[0], totals[0]], score=0.5).accepted - accepted
    np.testing.assert_allclose(twice[3:7, 5:21], 12.0)


def test_accepted_evidence_is_taken_from_the_sum_of_all_witnesses() -> None:
    fitted, found = fit(), prediction(embeddings(2, 8))
    accepted = np.zeros((4 * ROWS, 4 * COLUMNS), np.float32)
    accepted[4:12, 8:20] = 3.0
    before, changed = fitted.witnesses(found), dataclasses.replace(fitted, accepted=accepted)
    after = changed.witnesses(found)
    np.testing.assert_allclose(after.total, np.maximum(before.total - accepted, 0.0), atol=1e-4)
    assert after.normality is not None
    assert before.normality is not None
    np.testing.assert_allclose(
        after.network * before.normality, after.normality * before.network, atol=1e-4
    )
    tile = found._replace(embedding=None)  # its place is not known
    np.testing.assert_array_equal(
        changed.witnesses(tile).score_maps, fitted.witnesses(tile).score_maps
    )


@pytest.mark.parametrize(
    "change",
    [
        {"center": np.zeros(FEATURES + 1, np.float32)},
        {"deviation": np.zeros((FEATURES, ROWS, COLUMNS), np.float32)},
        {"mean": np.full((FEATURES, ROWS, COLUMNS), np.nan, np.float32)},
        {"network_quantiles": np.zeros(3, np.float32)},
        {"basis": np.zeros((FEATURES, FEATURES))},
        {"weights": np.ones(3, np.float32)},
        {"weights": np.float32([2.0, -1.0])},
        {"weights": np.float32([np.nan, 1.0])},
        {"weights": np.float32([2.0, 2.0])},
        {"accepted": np.zeros(4, np.float32)},
        {"accepted": np.zeros((0, 4), np.float32)},
        {"accepted": np.full((4, 4), -1.0, np.float32)},
        {"accepted": np.full((4, 4), np.inf, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ValueError, match="normality"):
        Normality.from_arrays({**fit().arrays(), **change})


@given(st.integers(64, 200), st.integers(64, 200))
@settings(deadline=None, max_examples=25)
def test_a_frame_in_windows_has_a_value_in_every_cell(height: int, width: int) -> None:
    wanted = load_settings(size="tiny", overrides=["data.height=64", "data.width=64"])
    features, rows, columns = embedding_shape(wanted)

    def run(images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        own = np.full((len(images), features, rows, columns), 3.0, np.float32)
        maps = np.zeros(valid.shape, np.float32)
        return Prediction(maps, np.zeros(len(images)), None, own)

    images = np.zeros((1, 3, height, width), np.float32)
    found = over_windows(run, images, np.ones((1, height, width), bool), wanted).embedding
    assert found is not None
    np.testing.assert_array_equal(found, np.full(found.shape, 3.0))
    if (height, width) != (64, 64):
        assert found.shape[2:] == (height // 8, width // 8)


@pytest.mark.parametrize("size", ["tiny", "lite", "base"])
def test_the_network_gives_the_embedding_that_its_settings_say(size: str) -> None:
    wanted = load_settings(size=size, overrides=["data.height=96", "data.width=128"])
    network = build_model(wanted.model).eval()
    with torch.inference_mode():
        embedding = network(torch.rand(1, 3, 96, 128)).embedding
    assert embedding.shape[1:] == embedding_shape(wanted)
    assert embedding_shape(wanted)[1:] == (12, 16)
    assert network.train()(torch.rand(2, 3, 96, 128)).embedding is None
    assert (
        build_model(wanted.model.model_copy(update={"normality": "none"}))
        .eval()(torch.rand(1, 3, 96, 128))
        .embedding
        is None
    )


@pytest.mark.parametrize("look", ["none", "half"])
def test_pretrained_features_stand_behind_the_own_ones(look: str) -> None:
    switches = ["data.height=96", "data.width=128", f"model.second_look={look}"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        own = build_model(load_settings(size="tiny", overrides=switches).model).eval()
    wanted = load_settings(size="tiny", overrides=[*switches, "model.normality=own+pretrained"])
    network = build_model(wanted.model).eval()
    network.load_state_dict(own.state_dict(), strict=False)
    network.pretrained = random_network()
    images = torch.rand(2, 3, 96, 128)
    with torch.inference_mode():
        found, expected = network(images), own(images)
        more = random_network().embedding(images, 12, 16)
    assert found.embedding.shape[1:] == embedding_shape(wanted)
    assert embedded_features(wanted.model) == (expected.embedding.shape[1], more.shape[1])
    torch.testing.assert_close(found.embedding, torch.cat((expected.embedding, more), 1))
    torch.testing.assert_close(found.logits, expected.logits)
    assert network.train()(images).embedding is None


def test_each_witness_has_its_own_features() -> None:
    both = np.concatenate([embeddings(60, 1), embeddings(60, 12)], 1)
    held_out = [
        normal._replace(embedding=np.concatenate([normal.embedding, other], 0))
        for normal, other in zip(normals(40, 2), embeddings(40, 13), strict=True)
    ]
    fitted = Normality.fit(both, held_out, FEATURES)
    new = embeddings(2, 5)
    odd = np.concatenate([new, new], 1)
    odd[:, FEATURES:, 2, 3] += 8.0
    network, normality, pretrained = evidence(fitted, prediction(odd))
    alone = evidence(fit(), prediction(new))
    assert len(alone) == 2
    np.testing.assert_array_equal(network, alone[0])
    np.testing.assert_array_equal(normality, alone[1])
    highest = np.unravel_index(pretrained[0].argmax(), pretrained[0].shape)
    assert (highest[0] // EDGE, highest[1] // EDGE) == (2, 3)
    found = fitted.witnesses(prediction(odd))
    total = np.asarray(sum(found.named().values()), np.float64)
    np.testing.assert_allclose(found.score_maps, total / (total + 6), rtol=1e-5)
    again = Normality.from_arrays(fitted.arrays())
    assert set(fitted.arrays()) == set(NORMALITY_ARRAYS)
    np.testing.assert_array_equal(again.witnesses(prediction(odd)).score_maps, found.score_maps)


def trained(seed: int = 0) -> tuple[Any, dict[str, Normality]]:
    """A network of random weights with the normality of eight images, own and pretrained."""
    changes = ["data.height=64", "data.width=64", "model.normality=own+pretrained"]
    wanted = load_settings(size="tiny", overrides=changes)
    torch.manual_seed(seed)
    network = build_model(wanted.model).eval()
    network.pretrained = random_network()
    images = torch.rand(8, 3, 64, 64) * 0.5
    found = predict_batch(network, images)
    assert found.embedding is not None
    valid = np.ones(found.score_maps.shape, bool)
    held_out = list(map(Normal, found.embedding, found.score_maps, valid))
    fitted = Normality.fit(found.embedding[:6], held_out[6:], PRETRAINED_FEATURES)
    accepted = np.zeros((16, 16), np.float32)
    accepted[2:5, 6:] = 2.0
    weights = np.float32([1.0, 0.4, 1.6])
    return network, {"a": dataclasses.replace(fitted, weights=weights, accepted=accepted)}


def test_the_network_with_gradients_gives_what_numpy_gives() -> None:
    network, known = trained()
    images = torch.rand(3, 3, 64, 64)
    found = predict_batch(network, images)
    valid = np.ones(found.score_maps.shape, bool)
    expected = with_normality(found, known, ["a"] * 3, valid, "top_mean")
    both = predict_batch(NormalityNetwork(network, known["a"]), images)
    assert np.ptp(expected.score_maps) > 0.1
    np.testing.assert_allclose(both.score_maps, expected.score_maps, atol=2e-4)


def test_its_gradient_is_that_of_finite_differences() -> None:
    network, known = trained()
    both = NormalityNetwork(network, known["a"]).double()
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)

    def score(values: torch.Tensor) -> torch.Tensor:
        return both(values).logits[:, 1].sum()

    (gradient,) = torch.autograd.grad(score(image), image)
    direction = torch.sign(gradient)
    step = 1e-5
    with torch.no_grad():
        slope = (score(image + step * direction) - score(image - step * direction)) / (2 * step)
    assert math.isclose(float(slope), float(gradient.abs().sum()), rel_tol=0.1)


def test_an_attack_that_sees_the_normality_hides_more_than_one_that_does_not() -> None:
    network, known = trained()
    both = NormalityNetwork(network, known["a"]).eval()
    images, valid = torch.rand(4, 3, 64, 64), torch.ones(4, 64, 64, dtype=torch.bool)
    downward = torch.zeros(4, dtype=torch.bool)

    def hidden_from(attacked: torch.nn.Module) -> float:
        objective = score_objective(attacked, valid, downward, "top_mean")
        with undisturbed(attacked):
            random = SampleRandom(0, 0, torch.arange(4))
            found = attack(objective, images, Ball(8 / 255), Schedule(8), random)
        return float(predict_batch(both, found.images).scores.mean())

    assert hidden_from(both) < hidden_from(network) - 0.01
