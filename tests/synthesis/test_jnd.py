import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnial.synthesis.jnd import jnd_levels, jnd_target, luma


@pytest.mark.parametrize(("grey", "levels"), [(0, 20.0), (127, 3.0), (255, 6.0)])
def test_closed_form_on_flat_grey(grey: int, levels: float) -> None:
    flat = torch.full((1, 3, 16, 16), grey / 255.0)
    torch.testing.assert_close(
        jnd_levels(flat), torch.full((1, 1, 16, 16), levels), atol=1e-4, rtol=0
    )


def naive(image: np.ndarray) -> np.ndarray:
    """A plain float64 loop over pixels, from the formula alone."""
    grey = 255 * (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2])
    padded = np.pad(grey, 2, mode="reflect")
    background = np.array(
        [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]
    )
    vertical = np.array(
        [[0] * 5, [1, 3, 8, 3, 1], [0] * 5, [-1, -3, -8, -3, -1], [0] * 5], dtype=float
    )
    diagonal = np.array(
        [[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]]
    )
    kernels = [vertical, vertical.T, diagonal, diagonal[:, ::-1]]
    result = np.empty_like(grey)
    for y, x in np.ndindex(grey.shape):
        window = padded[y : y + 5, x : x + 5]
        mean = (window * background).sum() / 32
        if mean <= 127:
            adaptation = 17 * (1 - math.sqrt(mean / 127)) + 3
        else:
            adaptation = 3 * (mean - 127) / 128 + 3
        texture = 0.117 * max(abs((window * kernel).sum()) / 16 for kernel in kernels)
        result[y, x] = adaptation + texture - 0.3 * min(adaptation, texture)
    return result


@given(st.integers(0, 2**32 - 1))
def test_equals_a_naive_loop(seed: int) -> None:
    image = np.random.default_rng(seed).random((3, 9, 7))
    found = jnd_levels(torch.from_numpy(image).float()[None])[0, 0].numpy()
    np.testing.assert_allclose(found, naive(image), atol=2e-3)


def test_the_target_is_bounded() -> None:
    stripes = torch.zeros(1, 3, 16, 16)
    stripes[..., ::4] = 1.0
    target = jnd_target(jnd_levels(stripes))
    assert float(target.min()) >= 0.0
    assert float(target.max()) <= 1.0
    torch.testing.assert_close(jnd_target(torch.tensor([16.0, 64.0])), torch.tensor([0.5, 1.0]))


def test_luma_of_white_is_one() -> None:
    torch.testing.assert_close(luma(torch.ones(1, 3, 2, 2)), torch.ones(1, 1, 2, 2))
