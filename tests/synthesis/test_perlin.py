import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from omnial.sample_random import SampleRandom
from omnial.synthesis.shapes import perlin_noise, perlin_shapes, thin_lines


def naive_noise(angles: np.ndarray, cells: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Perlin noise by its definition, corner by corner."""

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    noise = np.zeros(size)
    for row, column in np.ndindex(size):
        y, x = row * cells[0] / size[0], column * cells[1] / size[1]
        i, j = int(y), int(x)
        v, u = y - i, x - j
        dots = [
            [
                math.sin(angles[i + a, j + b]) * (v - a) + math.cos(angles[i + a, j + b]) * (u - b)
                for b in (0, 1)
            ]
            for a in (0, 1)
        ]
        top = dots[0][0] + fade(u) * (dots[0][1] - dots[0][0])
        bottom = dots[1][0] + fade(u) * (dots[1][1] - dots[1][0])
        noise[row, column] = math.sqrt(2) * (top + fade(v) * (bottom - top))
    return noise


@pytest.mark.parametrize("cells", [(1, 1), (4, 2), (1, 8), (8, 8)])
def test_noise_equals_the_definition(cells: tuple[int, int]) -> None:
    angles = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    found = perlin_noise(angles, torch.tensor([cells[0]]), torch.tensor([cells[1]]), (24, 20))
    np.testing.assert_allclose(
        found[0].numpy(), naive_noise(angles[0].numpy(), cells, (24, 20)), atol=1e-5
    )


def test_a_batch_mixes_scales() -> None:
    angles = torch.rand(2, 9, 9) * 2 * math.pi
    cells_y, cells_x = torch.tensor([2.0, 8.0]), torch.tensor([4.0, 1.0])
    both = perlin_noise(angles, cells_y, cells_x, (16, 16))
    for index in (0, 1):
        part = slice(index, index + 1)
        alone = perlin_noise(angles[part], cells_y[part], cells_x[part], (16, 16))
        torch.testing.assert_close(both[part], alone)


def test_shapes_are_binary_of_plausible_area_and_reproducible() -> None:
    random = SampleRandom(0, 0, torch.arange(64))
    shapes = perlin_shapes(random, (0, 5), 0.5, (64, 96))
    assert shapes.shape == (64, 64, 96)
    assert set(torch.unique(shapes).tolist()) == {False, True}
    assert 0.02 < float(shapes.float().mean()) < 0.3
    again = perlin_shapes(SampleRandom(0, 0, torch.arange(64)), (0, 5), 0.5, (64, 96))
    assert torch.equal(shapes, again)


def test_a_higher_threshold_draws_less() -> None:
    random = SampleRandom(0, 0, torch.arange(16))
    low = perlin_shapes(random, (2, 4), 0.3, (64, 64))
    high = perlin_shapes(random, (2, 4), 0.6, (64, 64))
    assert bool((high <= low).all())
    assert float(high.sum()) < float(low.sum())


@given(st.integers(1, 8), st.floats(0.001, 0.05), st.floats(-0.4, 0.4))
def test_lines_are_as_wide_as_asked_whatever_the_slope(
    width: int, slope: float, angle: float
) -> None:
    """Noise that rises evenly from a line through the upper half; the lower half says where."""
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(64.0), indexing="ij")
    distance = (y - 20.3) * math.cos(angle) + (x - 31.3) * math.sin(angle)
    noise = slope * distance
    noise[40:] = 0.0
    noise[40:, :32] = 1.0  # its mirror image is the right half of the upper half
    found = thin_lines(noise[None], torch.full((1, 1, 1), float(width)))[0]
    wanted = (distance.abs() < width / 2) & (y < 40) & (x >= 32)
    apart = found != wanted
    assert not bool((apart & ((distance.abs() - width / 2).abs() > 1e-2) & (y < 39)).any())
    assert int(wanted.sum()) > 25 * width


def test_a_share_of_the_shapes_are_lines_and_the_others_stay() -> None:
    random = SampleRandom(0, 0, torch.arange(200)).parts(*np.divmod(np.arange(400), 2))
    blobs = perlin_shapes(random, (1, 3), 0.5, (64, 64))
    some = perlin_shapes(random, (1, 3), 0.5, (64, 64), 0.3)
    lines = perlin_shapes(random, (1, 3), 0.5, (64, 64), 1.0)
    is_line = (some == lines).all((1, 2))
    assert bool((is_line | (some == blobs).all((1, 2))).all())
    assert 0.25 < float(is_line.float().mean()) < 0.4
    # An erosion by a square of 7 pixels leaves nothing of a line but where some meet.
    thick = [
        float((-F.max_pool2d(-s, 7, 1, 3)).sum() / s.sum()) for s in (lines.float(), blobs.float())
    ]
    assert thick[0] < 0.01
    assert thick[1] > 0.05
