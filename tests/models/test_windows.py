"""Frames larger than the network, with a network that says exactly what it sees."""

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from omnial.config.settings import ImageScore, Settings
from omnial.models.prediction import Prediction, over_windows
from omnial.models.scoring import image_score
from omnial.models.torch_backend import predict_batch
from tests.small_model import RedFinder

EDGE = 32


class Red:
    """The score of a pixel is its red; notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        self.seen.append(images.shape)
        maps = np.where(valid, images[:, 0], np.float32(0))
        return Prediction(maps, maps.max(axis=(1, 2)), images[:, ::-1])


def settings(rule: ImageScore = "top_mean") -> Settings:
    return Settings.model_validate(
        {"data": {"height": EDGE, "width": EDGE}, "model": {"image_score": rule}}
    )


@pytest.mark.parametrize("rule", ["top_mean", "window_maximum"])
def test_maps_are_whole_and_the_score_is_that_of_the_whole_map(rule: ImageScore) -> None:
    images = np.random.default_rng(0).random((2, 3, EDGE, 77), np.float32)
    valid = np.ones((2, EDGE, 77), bool)
    valid[1, :, 40:] = False
    run = Red()
    found = over_windows(run, images, valid, settings(rule))
    assert run.seen == [(2, 3, EDGE, EDGE)] * 3
    np.testing.assert_array_equal(found.score_maps, np.where(valid, images[:, 0], 0))
    np.testing.assert_array_equal(found.reconstruction, images[:, ::-1])
    maps = torch.from_numpy(found.score_maps)
    expected = image_score(maps, torch.from_numpy(valid), rule)
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def test_a_frame_of_the_networks_size_is_no_concern() -> None:
    images, valid = np.zeros((3, 3, EDGE, EDGE), np.float32), np.ones((3, EDGE, EDGE), bool)
    kept: list[Prediction] = []

    def run(part: NDArray[np.float32], inside: NDArray[np.bool_]) -> Prediction:
        assert part is images
        assert inside is valid
        kept.append(Red()(part, inside))
        return kept[-1]

    assert over_windows(run, images, valid, settings()) is kept[0]


def test_a_pointwise_network_sees_the_same_in_windows_as_at_once() -> None:
    images, network = torch.rand(2, 3, 90, EDGE), RedFinder()
    valid = torch.rand(2, 90, EDGE) > 0.2
    for inside in (torch.ones_like(valid), valid):
        run = partial(predict_batch, network)
        found = over_windows(run, images.numpy(), inside.numpy(), settings())
        whole = predict_batch(network, images, inside)
        np.testing.assert_allclose(found.score_maps, whole.score_maps, atol=1e-6)
        np.testing.assert_allclose(found.scores, whole.scores, atol=1e-6)
        np.testing.assert_array_equal(found.reconstruction, whole.reconstruction)
        assert found.jnd is not None
        np.testing.assert_array_equal(found.jnd, whole.jnd)
