import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omnial.config.settings import ImageScore
from omnial.models.scoring import highest_count, image_score, score_map, window_size

RULES: tuple[ImageScore, ...] = ("top_mean", "window_maximum")


def naive_window_maximum(score: Tensor, valid: Tensor) -> float:
    """Mean over the valid pixels of every window around a valid pixel, and their maximum."""
    height, width = score.shape
    half = window_size(height, width) // 2
    best = 0.0
    for row in range(height):
        for column in range(width):
            if valid[row, column]:
                rows = slice(max(row - half, 0), row + half + 1)
                columns = slice(max(column - half, 0), column + half + 1)
                best = max(best, float(score[rows, columns][valid[rows, columns]].double().mean()))
    return best


def naive_top_mean(score: Tensor, valid: Tensor) -> float:
    """Sort the valid pixels, average the first 0.2 %."""
    values = sorted((float(value) for value in score[valid]), reverse=True)
    count = math.ceil(Fraction(2, 1000) * len(values))
    return sum(values[:count]) / count if count else 0.0


def test_score_map_is_the_softmax_of_channel_one() -> None:
    logits = torch.tensor([[0.0, 2.0], [0.0, 0.0], [1000.0, -1000.0]]).reshape(3, 2, 1, 1)
    expected = torch.tensor([1 / (1 + np.exp(-2.0)), 0.5, 0.0]).reshape(3, 1, 1)
    torch.testing.assert_close(score_map(logits).double(), expected.double(), atol=1e-7, rtol=1e-6)


def test_score_map_of_half_precision_is_computed_in_float32() -> None:
    logits = torch.tensor([0.0, 3.0], dtype=torch.bfloat16).reshape(1, 2, 1, 1)
    assert score_map(logits).dtype == torch.float32
    assert score_map(logits).item() == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(256, 256, 21), (256, 320, 21), (320, 256, 21), (128, 128, 11), (512, 512, 43), (8, 8, 1)],
)
def test_window_is_odd_and_in_proportion(height: int, width: int, size: int) -> None:
    assert window_size(height, width) == size


@given(st.integers(1, 4096))
def test_window_is_the_nearest_odd_number(size: int) -> None:
    window = window_size(size, size)
    assert window % 2 == 1
    assert 1 <= window <= size
    assert window == 1 or abs(window - 21 * size / 256) <= 1


@given(st.integers(1, 2**24))
def test_highest_pixels_are_two_in_a_thousand_rounded_up(pixels: int) -> None:
    assert highest_count(pixels) == math.ceil(Fraction(2, 1000) * pixels)


def test_square_of_ones_scores_its_share_of_the_window() -> None:
    maps = torch.zeros(2, 256, 256)
    maps[0, 100:110, 50:57] = 1.0
    maps[1, :5, :5] = 1.0
    # In the corner the window has 11 x 11 pixels inside.
    found = image_score(maps, rule="window_maximum")
    torch.testing.assert_close(found, torch.tensor([70 / 441, 25 / 121]))


def test_a_scratch_scores_as_much_as_a_spot_of_its_area() -> None:
    maps = torch.zeros(3, 256, 256)
    maps[0, 100:110, 50:60] = 0.8
    maps[1, 20, 30:130] = 0.8
    maps[2, :20, :20] = 0.8  # more than the 132 pixels that count
    found = image_score(maps)
    torch.testing.assert_close(found, torch.tensor([80 / 132, 80 / 132, 0.8]))


@pytest.mark.parametrize("rule", RULES)
def test_constant_map_keeps_its_value_to_the_border(rule: ImageScore) -> None:
    found = image_score(torch.full((1, 100, 60), 0.3), rule=rule)
    torch.testing.assert_close(found, torch.tensor([0.3]))


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(30, 30), (40, 26), (13, 50)]))
def test_equals_a_naive_loop(rule: ImageScore, seed: int, size: tuple[int, int]) -> None:
    naive = {"top_mean": naive_top_mean, "window_maximum": naive_window_maximum}[rule]
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, *size, generator=generator)
    valid = torch.rand(2, *size, generator=generator) < 0.6
    everywhere = torch.ones_like(valid)
    for mask, got in (
        (valid, image_score(maps, valid, rule)),
        (everywhere, image_score(maps, rule=rule)),
    ):
        expected = [naive(score, inside) for score, inside in zip(maps, mask, strict=True)]
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_scores_outside_the_valid_region_do_not_matter(rule: ImageScore) -> None:
    maps = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.5
    valid = torch.zeros(3, 64, 64, dtype=torch.bool)
    valid[:, 10:40, 20:50] = True
    spoilt = torch.where(valid, maps, 1.0)
    torch.testing.assert_close(image_score(spoilt, valid, rule), image_score(maps, valid, rule))


@pytest.mark.parametrize("rule", RULES)
def test_valid_everywhere_equals_none_and_nowhere_is_zero(rule: ImageScore) -> None:
    maps = torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(2))
    everywhere = torch.ones(2, 48, 48, dtype=torch.bool)
    assert torch.equal(image_score(maps, everywhere, rule), image_score(maps, rule=rule))
    assert image_score(maps, ~everywhere, rule).tolist() == [0.0, 0.0]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="logits"):
        score_map(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="maps"):
        image_score(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="valid"):
        image_score(torch.zeros(1, 4, 4), torch.ones(1, 4, 5, dtype=torch.bool))
