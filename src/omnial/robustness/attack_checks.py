"""Does an attack attack at all? What must hold before its figures may be called robustness.

Vanishing gradients, bad steps or a mistake in the attack leave a trace in how the objective
moves (Carlini et al. 2019, "On evaluating adversarial robustness").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.attacks.pgd import Ball, Level, Objective, Schedule, attack
from omnial.sample_random import SampleRandom

RANDOM_SHARE: Final = 0.25
"""A random perturbation of the same size may do at most this share of what the attack does. [O]"""

_DIP = 0.1  # share of its whole rise that the mean objective may fall back in one step [O]


class Trace(NamedTuple):
    """Objective of n samples over an attack, all float32."""

    unattacked: NDArray[np.float32]
    """(n,) on the clean samples."""
    random: NDArray[np.float32]
    """(n,) after a random perturbation that has the attack's full size everywhere."""
    values: NDArray[np.float32]
    """(steps + 1, n) at the attack's start and after each of its steps; the attacked image is the
    one with the largest."""
    gradient: NDArray[np.float32]
    """(n,) mean absolute gradient of the first step."""

    @classmethod
    def joined(cls, traces: Sequence["Trace"]) -> "Trace":
        """Traces of several batches as one."""
        return cls(*(np.concatenate(parts, axis=-1) for parts in zip(*traces, strict=True)))

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
        rises = {level.name: traces[level.name].rise() for level in rising}
        passed = all(weak < strong for weak, strong in pairwise(rises.values()))
        shown = ", ".join(f"{name}: {rise:.4g}" for name, rise in rises.items())
        found.append(Check("the mean objective rises with the radius", passed, f"rise at {shown}"))
    return [*found, _random(traces)]


def check_unbounded(pixel_auroc: float | None) -> Check:
    """Check that an attack that may do anything wins: otherwise bounded ones say nothing."""
    name = "an attack without bounds drives pixel AUROC to 0.5 or below"
    if pixel_auroc is None:
        return Check(name, False, "no sample had both normal and anomalous pixels")
    return Check(name, pixel_auroc <= 0.5, f"pixel AUROC {pixel_auroc:.3f}")


def _gradients(traces: Mapping[str, Trace]) -> Check:
    # Not `<= 0`, which lets a NaN pass for a gradient.
    worst = max(float(np.mean(~(trace.gradient > 0.0))) for trace in traces.values())
    smallest = min(float(trace.gradient.min()) for trace in traces.values())
    detail = (
        f"at most {100 * worst:.1f} % of the samples are without one; "
        f"the smallest mean gradient is {smallest:.2e}"
    )
    return Check("gradients are not zero", worst == 0.0, detail)


def _steps(traces: Mapping[str, Trace]) -> Check:
    """The mean objective rises from step to step, but for small dips."""
    failed, shown = [], []
    for name, trace in traces.items():
        means = trace.values.mean(axis=1, dtype=np.float64)
        whole = means[-1] - means[0]
        if not (whole > 0.0 and np.all(np.diff(means) >= -_DIP * whole)):
            failed.append(name)
        shown.append(f"{name}: {means[0]:.4g} to {means[-1]:.4g}")
    detail = "; ".join(shown)
    if failed:
        detail = f"it does not at {', '.join(failed)} ({detail})"
    return Check("the mean objective rises with the steps", not failed, detail)


def _random(traces: Mapping[str, Trace]) -> Check:
    shares = {}
    for name, trace in traces.items():
        rise, by_chance = trace.rise(), float(np.mean(trace.random - trace.unattacked))
        shares[name] = by_chance / rise if rise > 0.0 else float("inf")
    shown = ", ".join(f"{name}: {100 * share:.1f} %" for name, share in shares.items())
    passed = all(share <= RANDOM_SHARE for share in shares.values())
    name = "a random perturbation of the same size does far less"
    return Check(name, passed, f"share of the attack's rise at {shown}")
