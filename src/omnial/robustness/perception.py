"""How imperceptible a perturbation is: the paper says that it is, here it is measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.metrics.reconstruction import psnr, ssim
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.grid import from_grid
from omnial.synthesis.jnd import jnd_levels, luma


@dataclass(frozen=True)
class Perception:
    """How far attacked samples are from clean ones; means over samples.

    Attributes:
        psnr: PSNR of A_adv against A in dB.
        ssim: SSIM of A_adv against A.
        within_jnd: Share of pixels whose change of luma is at most the JND of A there.
        channels_within_jnd: Share of pixels of which every channel changes by at most the JND, a
            stricter reading.
        mean_change: Mean absolute change of a value, in grey levels.
    """

    psnr: float
    ssim: float
    within_jnd: float
    channels_within_jnd: float
    mean_change: float


def measure_perception(
    data: AdversarialSet, batch_size: int = 16
) -> dict[str, dict[str, Perception]]:
    """Measure every level of a set.

    Returns:
        By level, then by class; the class `mean` is the mean over classes.
    """
    found: dict[str, dict[str, Perception]] = {level.name: {} for level in data.levels}
    for class_name in data.classes:
        rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in found}
        for batch in data.batches(class_name, batch_size):
            clean = from_grid(batch.clean.anomalous)
            for name in found:
                rows[name].append(_measure(clean, batch.images(name)))
        for name, parts in rows.items():
            found[name][class_name] = Perception(*np.concatenate(parts).mean(axis=0).tolist())
    for name, classes in found.items():
        values = np.array([list(vars(perception).values()) for perception in classes.values()])
        found[name] = {**classes, "mean": Perception(*values.mean(axis=0).tolist())}
    return found


def to_dict(
    found: Mapping[str, Mapping[str, Perception]],
) -> dict[str, dict[str, dict[str, float]]]:
    """The same as JSON values."""
    return {
        level: {name: dict(vars(perception)) for name, perception in classes.items()}
        for level, classes in found.items()
    }


def _measure(clean: NDArray[np.float32], attacked: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 5): the fields of `Perception` for each sample."""
    before, after = torch.from_numpy(clean), torch.from_numpy(attacked)
    change = 255.0 * (after - before)
    jnd = jnd_levels(before)
    seen = (255.0 * (luma(after) - luma(before))).abs() <= jnd
    strictly = change.abs().amax(1, keepdim=True) <= jnd
    return np.stack(
        [
            psnr(attacked, clean),
            ssim(attacked, clean),
            seen.double().mean((1, 2, 3)).numpy(),
            strictly.double().mean((1, 2, 3)).numpy(),
            change.double().abs().mean((1, 2, 3)).numpy(),
        ],
        axis=1,
    )
