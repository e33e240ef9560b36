"""Does an attack attack at all? What must hold before its figures may be called robustness.

A network can seem robust because its gradients vanish, because the attack's steps are badly
chosen, or because of a mistake in the attack. Each leaves a trace in how the attacked objective
moves (Carlini et al. 2019, "On evaluating adversarial robustness").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.attacks.ball import Ball, Level
from omnial.attacks.pgd import Objective, Schedule, attack
from omnial.sample_random import SampleRandom

RANDOM_SHARE: Final = 0.25
"""A random perturbation of the same size may do at most this share of what the attack does. [O]"""

_DIP = 0.1  # share of its whole rise that the mean objective may fall back in one step [O]


@dataclass(frozen=True)
class Trace:
    """Objective of n samples over an attack, all float32.

    Attributes:
        unattacked: (n,) on the clean samples.
        random: (n,) after a random perturbation that has the attack's full size everywhere.
        values: (steps + 1, n) at the attack's start and after each of its steps; the attacked
            image is the one with the largest.
        gradient: (n,) mean absolute gradient of the first step.
    """

    unattacked: NDArray[np.float32]
    random: NDArray[np.float32]
    values: NDArray[np.float32]
    gradient: NDArray[np.float32]

    @classmethod
    def joined(cls, traces: Sequence["Trace"]) -> "Trace":
        """Traces of several batches as one."""
        return cls(
            np.concatenate([trace.unattacked for trace in traces]),
            np.concatenate([trace.random for trace in traces]),
            np.concatenate([trace.values for trace in traces], axis=1),
            np.concatenate([trace.gradient for trace in traces]),
        )

    def rise(self) -> float:
        """How far the attack raises the mean objective above that of the clean samples."""
        # As the attack itself, which keeps the best finite iterate of each sample.
        reached = np.where(np.isfinite(self.values), self.values, -np.inf).max(axis=0)
        return float(np.mean(reached - self.unattacked))


@dataclass(frozen=True)
class Check:
    """Result of one check: its name, whether it passed, and the numbers in one sentence."""

    name: str
    passed: bool
    detail: str


def traced_attack(
    objective: Objective, images: Tensor, ball: Ball, schedule: Schedule, random: SampleRandom
) -> tuple[Tensor, Trace]:
    """Attack within an L-infinity ball, and trace what the checks need; see `attack`."""
    result = attack(objective, images, ball, schedule, random)
    signs = random.uniform("random perturbation", *images.shape[1:], low=-1.0, high=1.0).sign()
    with torch.no_grad():
        unattacked = objective(images)
        by_chance = objective(ball.project(images + ball.epsilon * signs, images))
    values = (unattacked, by_chance, result.values, result.gradient)
    return result.images, Trace(*(value.detach().float().cpu().numpy() for value in values))


def check_traces(traces: Mapping[str, Trace], levels: Sequence[Level]) -> list[Check]:
    """Check one attack at several levels, from the trace of each."""
    rising = sorted((level for level in levels if not level.targeted), key=lambda x: x.grey_levels)
    found = [_gradients(traces), _steps(traces)]
    if len(rising) > 1:
        found.append(_radii({level.name: traces[level.name].rise() for level in rising}))
    return [*found, _random(traces)]


def check_unbounded(pixel_auroc: float | None) -> Check:
    """Check that an attack that may do anything wins: otherwise bounded ones say nothing."""
    name = "an attack without bounds drives pixel AUROC to 0.5 or below"
    if pixel_auroc is None:
        return Check(name, False, "no sample had both normal and anomalous pixels")
    return Check(name, pixel_auroc <= 0.5, f"pixel AUROC {pixel_auroc:.3f}")


def _gradients(traces: Mapping[str, Trace]) -> Check:
    # Not `<= 0`, which lets a NaN pass for a gradient.
    dead = {name: float(np.mean(~(trace.gradient > 0.0))) for name, trace in traces.items()}
    worst = max(dead, key=lambda name: dead[name])
    detail = f"at most {100 * dead[worst]:.1f} % of the samples are without one"
    smallest = min(float(trace.gradient.min()) for trace in traces.values())
    return Check(
        "gradients are not zero",
        dead[worst] == 0.0,
        f"{detail}; the smallest mean gradient is {smallest:.2e}",
    )


def _steps(traces: Mapping[str, Trace]) -> Check:
    """The mean objective rises from step to step, but for small dips."""
    failed = []
    for name, trace in traces.items():
        means = trace.values.mean(axis=1, dtype=np.float64)
        whole = means[-1] - means[0]
        if not (whole > 0.0 and np.all(np.diff(means) >= -_DIP * whole)):
            failed.append(name)
    shown = "; ".join(
        f"{name}: {trace.values[0].mean():.4g} to {trace.values[-1].mean():.4g}"
        for name, trace in traces.items()
    )
    detail = f"it does not at {', '.join(failed)} ({shown})" if failed else shown
    return Check("the mean objective rises with the steps", not failed, detail)


def _radii(rises: Mapping[str, float]) -> Check:
    """The rise grows with the radius; weakest level first."""
    shown = ", ".join(f"{name}: {rise:.4g}" for name, rise in rises.items())
    passed = all(weak < strong for weak, strong in pairwise(rises.values()))
    return Check("the mean objective rises with the radius", passed, f"rise at {shown}")


def _random(traces: Mapping[str, Trace]) -> Check:
    shares = {}
    for name, trace in traces.items():
        rise = trace.rise()
        by_chance = float(np.mean(trace.random - trace.unattacked))
        shares[name] = by_chance / rise if rise > 0.0 else float("inf")
    shown = ", ".join(f"{name}: {100 * share:.1f} %" for name, share in shares.items())
    return Check(
        "a random perturbation of the same size does far less",
        all(share <= RANDOM_SHARE for share in shares.values()),
        f"share of the attack's rise at {shown}",
    )
