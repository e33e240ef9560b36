import numpy as np
import pytest
import torch
from scipy import stats

from omnial.sample_random import SampleRandom, _drawn


def numbers(seed: int = 0, step: int = 0, count: int = 4096) -> torch.Tensor:
    return SampleRandom(seed, step, torch.arange(count)).uniform("x")


def splitmix64(state: int) -> int:
    """The reference finaliser in Python's unbounded integers."""
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_the_keys_are_those_of_splitmix64_in_unsigned_arithmetic() -> None:
    random = SampleRandom(7, 11, torch.tensor([13]))
    expected = splitmix64((splitmix64((splitmix64(7) + 11) % 2**64) + 13) % 2**64)
    assert int(random._keys[0]) % 2**64 == expected


def test_a_sample_does_not_depend_on_its_batch() -> None:
    whole = SampleRandom(3, 5, torch.arange(8)).uniform("shape", 2, 3)
    part = SampleRandom(3, 5, torch.tensor([6, 1])).uniform("shape", 2, 3)
    assert torch.equal(whole[[6, 1]], part)


def test_a_device_draws_what_the_cpu_draws() -> None:
    starts = np.random.default_rng(0).integers(-(2**63), 2**63, 50)
    on_device = _drawn(torch.from_numpy(starts), torch.arange(300))
    assert torch.equal(on_device, torch.from_numpy(_drawn(starts, np.arange(300))))
    assert int(on_device.min()) >= 0
    assert int(on_device.max()) < 2**24


def test_parts_draw_what_all_parts_of_their_samples_draw_together() -> None:
    random = SampleRandom(3, 5, torch.arange(8))
    samples, numbers = np.array([6, 0, 6]), np.array([2, 1, 0])
    parts = random.parts(samples, numbers)
    assert torch.equal(parts.uniform("x", 4, 5), random.uniform("x", 3, 4, 5)[samples, numbers])
    assert torch.equal(parts.uniform("y"), random.uniform("y", 3)[samples, numbers])
    assert torch.equal(random[np.array([6, 0])].uniform("y"), random.uniform("y")[[6, 0]])


@pytest.mark.parametrize(
    "other",
    [
        SampleRandom(1, 0, torch.arange(64)).uniform("x"),
        SampleRandom(0, 1, torch.arange(64)).uniform("x"),
        SampleRandom(0, 0, torch.arange(64) + 64).uniform("x"),
        SampleRandom(0, 0, torch.arange(64)).uniform("y"),
    ],
    ids=["seed", "step", "position", "name"],
)
def test_every_coordinate_changes_the_numbers(other: torch.Tensor) -> None:
    assert not bool((numbers(count=64) == other).any())


def test_numbers_are_uniform_and_independent_between_steps_and_places() -> None:
    drawn = np.stack([numbers(step=step).numpy() for step in range(8)])
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(drawn)
    assert np.abs(correlation - np.eye(8)).max() < 0.06
    along = drawn[0]
    assert abs(np.corrcoef(along[:-1], along[1:])[0, 1]) < 0.06


def test_the_range_is_kept() -> None:
    drawn = SampleRandom(0, 0, torch.arange(1000)).uniform("r", 10, low=-2.0, high=3.0)
    assert drawn.min() >= -2.0
    assert drawn.max() <= 3.0
    assert drawn.dtype == torch.float32


def test_integers_take_every_value_equally() -> None:
    drawn = SampleRandom(0, 0, torch.arange(5000)).integers("i", low=2, high=7)
    values, counts = torch.unique(drawn, return_counts=True)
    assert values.tolist() == [2, 3, 4, 5, 6]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
