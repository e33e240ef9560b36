"""The checks of an attack: each must catch the failure that it is there for."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.attacks.pgd import Ball, Level, Schedule
from omnial.robustness.attack_checks import (
    Trace,
    check_traces,
    check_unbounded,
    traced_attack,
)
from omnial.sample_random import SampleRandom

GOOD = {"1": ([1.0, 2.0, 3.0], 0.1), "2": ([1.0, 4.0, 6.0], 0.2)}


def column(values: list[float]) -> NDArray[np.float32]:
    return np.repeat(np.array(values, np.float32)[:, None], 4, axis=1)


def traces(rises: dict[str, tuple[list[float], float]], gradient: float = 0.1) -> dict[str, Trace]:
    flat = np.ones(4, np.float32)
    return {
        name: Trace(flat, flat + np.float32(by_chance), column(values), gradient * flat)
        for name, (values, by_chance) in rises.items()
    }


def levels(found: dict[str, Trace]) -> list[Level]:
    return [Level(name, float(name)) for name in found]


def failed(found: dict[str, Trace]) -> list[str]:
    checks = check_traces(found, levels(found))
    assert len(checks) == 4
    return [check.name for check in checks if not check.passed]


def test_a_sound_attack_passes() -> None:
    assert failed(traces(GOOD)) == []
    alone = traces({"1": GOOD["1"]})
    assert len(check_traces(alone, levels(alone))) == 3


@pytest.mark.parametrize(
    ("rises", "gradient", "names"),
    [
        (GOOD, 0.0, ["gradients"]),
        (GOOD, math.nan, ["gradients"]),
        ({"1": ([1.0, 2.0, 3.0], 0.0), "2": ([1.0, 4.0, 6.0], math.nan)}, 0.1, ["random"]),
        ({"1": ([1.0, 2.0, 3.0], 0.0), "2": ([1.0, math.nan, 6.0], 0.0)}, 0.1, ["steps"]),
        ({"1": ([1.0, 5.0, 3.0], 0.0), "2": ([1.0, 4.0, 6.0], 0.0)}, 0.1, ["steps"]),
        ({"1": ([1.0, 4.0, 6.0], 0.0), "2": ([1.0, 2.0, 3.0], 0.0)}, 0.1, ["radius"]),
        ({"1": ([1.0, 2.0, 3.0], 1.0), "2": ([1.0, 4.0, 6.0], 0.0)}, 0.1, ["random"]),
        ({"1": ([1.0, 1.0, 1.0], 0.0), "2": ([1.0, 4.0, 6.0], 0.0)}, 0.1, ["steps", "random"]),
    ],
)
def test_each_check_catches_its_failure(
    rises: dict[str, tuple[list[float], float]], gradient: float, names: list[str]
) -> None:
    found = failed(traces(rises, gradient))
    assert len(found) == len(names)
    assert all(any(name in text for text in found) for name in names)


def test_the_rise_is_that_of_the_best_iterate_which_the_attack_keeps() -> None:
    (trace,) = traces({"1": ([1.0, 6.0, math.nan, 5.8], 0.0)}).values()
    assert trace.rise() == pytest.approx(5.0)


def test_without_bounds_an_attack_must_win() -> None:
    assert check_unbounded(0.2).passed
    assert not check_unbounded(0.51).passed
    assert not check_unbounded(None).passed


def test_an_attack_on_a_linear_function_is_sound_and_on_a_constant_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    images = 0.3 + 0.4 * torch.rand(6, 3, 8, 8, generator=generator)
    weight = torch.randn(3, 8, 8, generator=generator)
    random = SampleRandom(0, 0, torch.arange(6))

    def run(scale: float) -> list[str]:
        def objective(x: Tensor) -> Tensor:
            return scale * (x * weight).flatten(1).sum(1)

        found = {}
        for level in (1, 2, 4):
            ball, schedule = Ball(level / 255), Schedule()
            parts = [
                traced_attack(objective, images[rows], ball, schedule, part)[1]
                for rows, part in (
                    (slice(0, 4), SampleRandom(0, 0, torch.arange(4))),
                    (slice(4, 6), SampleRandom(0, 0, torch.arange(4, 6))),
                )
            ]
            found[str(level)] = Trace.joined(parts)
            whole = traced_attack(objective, images, ball, schedule, random)[1]
            np.testing.assert_allclose(found[str(level)].values, whole.values, rtol=1e-5)
        return failed(found)

    assert run(1.0) == []
    assert len(run(0.0)) == 4
