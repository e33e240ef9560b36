import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from omnial.models.recogniser import Recogniser

NAMES = ("bolt", "cable", "tile")


def clusters(
    seed: int, per_class: int, features: int, gap: float = 1.5
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Features, labels and centres of three classes whose features have unlike scales.

    The first feature, which says how much there is to see, is alike in all.
    """
    generator = np.random.default_rng(seed)
    scale = generator.uniform(0.05, 0.4, size=features)
    centres = generator.normal(size=(3, features)) * gap
    centres[:, 0] = 0.0
    labels = np.repeat(np.arange(3), per_class)
    noise = generator.normal(size=(3 * per_class, features)) * scale
    noise[:, 0] *= 0.1
    return centres[labels] + noise, labels, centres


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(2, 2048), (2, 256), (4, 128), (20, 32)]))
def test_new_images_are_recognised_even_from_two_per_class(
    seed: int, size: tuple[int, int]
) -> None:
    # Of 300 draws of each size none failed.
    per_class, features = size
    x, labels, _ = clusters(seed, per_class + 10, features)
    known = np.concatenate([np.flatnonzero(labels == index)[:per_class] for index in range(3)])
    new = np.setdiff1d(np.arange(len(x)), known)
    recogniser = Recogniser.fit(x[known], labels[known], NAMES)
    assert recogniser.recognise(x[new]) == [NAMES[label] for label in labels[new]]


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_was_left_out_is_unknown(seed: int) -> None:
    x, labels, _ = clusters(seed, 30, 64)
    known = labels < 2
    recogniser = Recogniser.fit(x[known], labels[known], NAMES[:2])
    assert recogniser.recognise(x[~known]) == [None] * 30


def test_one_class_alone_has_an_inside_and_an_outside() -> None:
    x = np.random.default_rng(2).normal(size=(50, 32))
    recogniser = Recogniser.fit(x, np.zeros(50, int), ["tile"])
    assert recogniser.recognise(np.zeros((1, 32))) == ["tile"]
    assert recogniser.recognise(np.full((1, 32), 20.0)) == [None]


def test_a_blank_picture_among_the_examples_makes_no_blank_picture_known() -> None:
    x, labels, _ = clusters(1, 30, 64)
    x[0, 0] = -4.0
    recogniser = Recogniser.fit(x, labels, NAMES)
    assert recogniser.recognise(x[:2]) == [None, "bolt"]


def test_what_is_nearer_to_nothing_than_to_an_example_is_unknown() -> None:
    x, labels, _ = clusters(3, 30, 64)
    near = x[:1] + 0.02
    assert Recogniser.fit(x, labels, NAMES).recognise(near) == ["bolt"]
    assert Recogniser.fit(x, labels, NAMES, near + 0.005).recognise(near) == [None]
    assert Recogniser.fit(x, labels, NAMES, near + 1.0).recognise(near) == ["bolt"]


def test_one_far_image_of_many_does_not_widen_its_class() -> None:
    x, labels, _ = clusters(4, 30, 64)
    radius = Recogniser.fit(x, labels, NAMES).radius
    x[0, 1:] += 30.0
    assert Recogniser.fit(x, labels, NAMES).radius[0] < 1.2 * radius[0]


def test_radius_in_closed_form() -> None:
    # Classes at 0, 1, 2, 3 and 8 to 11: variance 5 / 3 within, 1 from each other in the class
    # and 5 to the next one.
    x = np.array([[0.0], [1.0], [2.0], [3.0], [8.0], [9.0], [10.0], [11.0]])
    recogniser = Recogniser.fit(x, np.repeat([0, 1], 4), ["a", "b"])
    scale = np.sqrt(10 / 6 + 0.01)
    np.testing.assert_allclose(recogniser.scale, [scale], rtol=1e-6)
    nearest = np.quantile([5.0, 6.0, 7.0, 8.0], 0.02)
    np.testing.assert_allclose(recogniser.radius, [np.sqrt(nearest) / scale] * 2, rtol=1e-6)
    np.testing.assert_allclose(recogniser.min_contrast, [0.3 - 0.7, 8.3 - 0.7], rtol=1e-6)


def test_feature_that_never_varied_does_not_outweigh_the_others() -> None:
    x, labels, _ = clusters(7, 20, 30)
    x[:, 5:15] = 0.0
    recogniser = Recogniser.fit(x, labels, NAMES)
    alive = x.copy()
    alive[:, 9] = 0.2
    assert recogniser.recognise(alive) == [NAMES[label] for label in labels]


def test_distance_in_closed_form() -> None:
    recogniser = Recogniser.from_arrays(
        {
            "examples": np.array([[0, 0], [50, 0], [10, 0]], np.float32),
            "counts": np.array([2, 1]),
            "scale": np.array([1, 2], np.float32),
            "radius": np.array([3, 1], np.float32),
            "least": np.array([-5, 9.5], np.float32),
            "nothing": np.array([[3.0, 5.0]], np.float32),
        },
        ["a", "b"],
    )
    distances = recogniser.distances([[4.0, 6.0]])
    np.testing.assert_allclose(distances, [[np.sqrt(12.5), np.sqrt(22.5)]])
    # Out of reach; nearer to nothing; within reach; of too little contrast for b; of b.
    images = [[4.0, 6.0], [3.0, 4.0], [0.0, 2.0], [9.4, 0.0], [9.6, 0.0]]
    assert recogniser.recognise(images) == [None, None, "a", None, "b"]


def test_identical_images_know_themselves() -> None:
    x = np.repeat(np.array([[1.0, 2.0], [3.0, 5.0]]), 4, axis=0)
    recogniser = Recogniser.fit(x, np.repeat([0, 1], 4), ["a", "b"])
    assert recogniser.recognise(x) == ["a"] * 4 + ["b"] * 4


def test_one_image_per_class_still_tells_classes_apart() -> None:
    x = np.array([[0.0, 1.0], [5.0, 2.0]])
    recogniser = Recogniser.fit(x, [0, 1], ["a", "b"])
    assert recogniser.recognise(x + 0.1) == ["a", "b"]
    assert Recogniser.fit(x[:1], [0], ["a"]).recognise(x) == ["a", None]


def test_features_that_are_no_numbers_are_unknown() -> None:
    x, labels, _ = clusters(4, 5, 6)
    broken = x[:2].copy()
    broken[0, 3], broken[1, 2] = np.nan, np.inf
    assert Recogniser.fit(x, labels, NAMES).recognise(broken) == [None, None]


def test_round_trip_through_arrays() -> None:
    x, labels, _ = clusters(5, 4, 12)
    recogniser = Recogniser.fit(x.astype(np.float32), labels, NAMES)
    again = Recogniser.from_arrays(recogniser.arrays(), NAMES)
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
        (np.full((2, 2), np.nan), [0, 1], "finite"),
        (np.zeros((102, 2)), [0] * 101 + [1], "1 to 100 examples"),
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
        {"examples": np.zeros((3, 2), np.float32)},
        {"counts": np.array([2, 0])},
        {"counts": np.array([-1, 3])},
        {"counts": np.array([101, 1]), "examples": np.zeros((102, 2), np.float32)},
        {"least": np.array([0, np.inf], np.float32)},
        {"nothing": np.zeros((101, 2), np.float32)},
        {"scale": np.zeros(2, np.float32)},
        {"radius": np.array([1, -1], np.float32)},
        {"radius": np.array([1, np.nan], np.float32)},
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
