import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from omnial.calibration.recogniser import Recogniser

NAMES = ("bolt", "cable", "tile")


def clusters(
    seed: int, per_class: int, features: int, spread: float = 1.0, gap: float = 6.0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Features, labels and centres of three classes whose features have unlike scales."""
    generator = np.random.default_rng(seed)
    scale = np.exp(generator.normal(size=features))
    centres = generator.normal(size=(3, features)) * gap * scale
    labels = np.repeat(np.arange(3), per_class)
    noise = generator.normal(size=(3 * per_class, features)) * scale * spread
    return centres[labels] + noise, labels, centres


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(2, 2048), (2, 256), (4, 128), (20, 16)]))
def test_new_images_are_recognised_even_from_two_per_class(
    seed: int, size: tuple[int, int]
) -> None:
    per_class, features = size
    x, labels, _ = clusters(seed, per_class + 10, features)
    known = np.concatenate([np.flatnonzero(labels == index)[:per_class] for index in range(3)])
    new = np.setdiff1d(np.arange(len(x)), known)
    recogniser = Recogniser.fit(x[known], labels[known], NAMES)
    assert recogniser.recognise(x[new]) == [NAMES[label] for label in labels[new]]


def test_what_lies_far_from_every_class_is_unknown() -> None:
    x, labels, centres = clusters(0, 30, 64)
    recogniser = Recogniser.fit(x, labels, NAMES)
    other = np.random.default_rng(1).normal(size=(5, 64)) * np.abs(centres).mean(axis=0) * 3
    assert recogniser.recognise(other) == [None] * 5
    assert recogniser.recognise(centres) == list(NAMES)


def test_one_class_alone_has_an_inside_and_an_outside() -> None:
    x = np.random.default_rng(2).normal(size=(50, 32))
    recogniser = Recogniser.fit(x, np.zeros(50, int), ["tile"])
    assert recogniser.recognise(np.zeros((1, 32))) == ["tile"]
    assert recogniser.recognise(np.full((1, 32), 20.0)) == [None]


@given(st.floats(-6, 6))
def test_unit_of_the_features_does_not_matter(exponent: float) -> None:
    x, labels, _ = clusters(3, 20, 8)
    unit = 10.0**exponent
    plain, scaled = Recogniser.fit(x, labels, NAMES), Recogniser.fit(x * unit, labels, NAMES)
    np.testing.assert_allclose(plain.distances(x), scaled.distances(x * unit), rtol=1e-4)
    np.testing.assert_allclose(plain.radius, scaled.radius, rtol=1e-4)


def test_radius_is_the_left_out_distance_in_closed_form() -> None:
    # One class at -3, -1, 1, 3: without 3 the mean is -1, the variance 4 and the distance 4.
    x = np.array([[-3.0], [-1.0], [1.0], [3.0]])
    recogniser = Recogniser.fit(x, np.zeros(4, int), ["a"])
    target = 20 / 3
    far = 4 / np.sqrt(0.9 * 4 + 0.1 * target)
    near = (4 / 3) / np.sqrt(0.9 * (20 - 4 / 3) / 2 + 0.1 * target)
    expected = 1.5 * np.quantile([far, near, near, far], 0.99)
    np.testing.assert_allclose(recogniser.radius, [expected], rtol=1e-6)
    np.testing.assert_allclose(recogniser.scale, [np.sqrt(target)], rtol=1e-6)


def test_feature_that_never_varied_does_not_outweigh_the_others() -> None:
    x, labels, _ = clusters(7, 20, 30)
    x[:, 5:15] = 0.0
    recogniser = Recogniser.fit(x, labels, NAMES)
    alive = x.copy()
    alive[:, 9] = 0.5
    assert recogniser.recognise(alive) == [NAMES[label] for label in labels]


def test_distance_in_closed_form() -> None:
    recogniser = Recogniser.from_arrays(
        {
            "means": np.array([[0, 0], [10, 0]], np.float32),
            "scale": np.array([1, 2], np.float32),
            "radius": np.array([3, 1], np.float32),
        },
        ["a", "b"],
    )
    distances = recogniser.distances([[4.0, 6.0]])
    np.testing.assert_allclose(distances, [[np.sqrt(12.5), np.sqrt(22.5)]])
    assert recogniser.recognise([[4.0, 6.0], [3.0, 4.0], [9.0, 0.0]]) == [None, "a", "b"]


def test_identical_images_know_themselves() -> None:
    x = np.repeat(np.array([[1.0, 2.0], [3.0, 5.0]]), 4, axis=0)
    recogniser = Recogniser.fit(x, np.repeat([0, 1], 4), ["a", "b"])
    assert recogniser.recognise(x) == ["a"] * 4 + ["b"] * 4


def test_one_image_per_class_still_tells_classes_apart() -> None:
    x = np.array([[0.0, 1.0], [5.0, 2.0]])
    recogniser = Recogniser.fit(x, [0, 1], ["a", "b"])
    assert recogniser.recognise(x + 0.1) == ["a", "b"]
    assert Recogniser.fit(x[:1], [0], ["a"]).recognise(x) == ["a", "a"]


def test_features_that_are_no_numbers_are_unknown() -> None:
    x, labels, _ = clusters(4, 5, 6)
    broken = x[:2].copy()
    broken[0, 3], broken[1, 2] = np.nan, np.inf
    assert Recogniser.fit(x, labels, NAMES).recognise(broken) == [None, None]


def test_round_trip_through_arrays() -> None:
    x, labels, _ = clusters(5, 4, 12)
    recogniser = Recogniser.fit(x.astype(np.float32), labels, NAMES)
    arrays = recogniser.arrays()
    assert all(array.dtype == np.float32 for array in arrays.values())
    again = Recogniser.from_arrays(arrays, NAMES)
    np.testing.assert_array_equal(again.distances(x), recogniser.distances(x))


def test_fit_does_not_depend_on_the_order_of_the_images() -> None:
    x, labels, _ = clusters(6, 7, 10)
    order = np.random.default_rng(0).permutation(len(x))
    first, second = (Recogniser.fit(x[o], labels[o], NAMES) for o in (np.arange(len(x)), order))
    np.testing.assert_allclose(first.radius, second.radius, rtol=1e-6)
    np.testing.assert_allclose(first.scale, second.scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((3, 2)), [0, 1], "features must be"),
        (np.zeros((2, 2)), [0.0, 1.0], "features must be"),
        (np.zeros(2), [0, 1], "features must be"),
        (np.full((2, 2), np.nan), [0, 1], "not finite"),
        (np.zeros((2, 2)), [0, 2], "out of range"),
        (np.zeros((2, 2)), [0, -1], "out of range"),
        (np.zeros((2, 2)), [0, 0], "no image of class 'b'"),
    ],
)
def test_impossible_training_sets_are_refused(
    features: NDArray[np.float64], labels: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Recogniser.fit(features, labels, ["a", "b"])


@pytest.mark.parametrize(
    "change",
    [
        {"means": np.zeros((3, 2), np.float32)},
        {"scale": np.zeros(2, np.float32)},
        {"scale": np.ones((2, 1), np.float32)},
        {"radius": np.array([1, -1], np.float32)},
        {"radius": np.array([1, np.nan], np.float32)},
        {"means": np.zeros((2, 2))},
        {"more": np.zeros(2, np.float32)},
    ],
)
def test_impossible_arrays_are_refused(change: dict[str, NDArray[np.float32]]) -> None:
    good = Recogniser.fit(np.eye(2), [0, 1], ["a", "b"]).arrays()
    with pytest.raises(ValueError, match="recogniser"):
        Recogniser.from_arrays({**good, **change}, ["a", "b"])


def test_other_feature_counts_are_refused() -> None:
    recogniser = Recogniser.fit(np.eye(2), [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match="must be"):
        recogniser.recognise(np.zeros((1, 3)))
