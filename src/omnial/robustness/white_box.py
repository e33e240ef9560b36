"""White-box attacks: each model attacked itself, on the set's clean samples.

A defence that survives the perturbations of another network alone is no defence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.attacks.ball import Ball
from omnial.attacks.pgd import Schedule, attack, undisturbed
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.attacking import attack_levels
from omnial.robustness.checks import Check, Trace, check_traces, check_unbounded, joined
from omnial.robustness.figures import LevelFigures, class_figures
from omnial.robustness.levels import UNATTACKED, UNTARGETED
from omnial.robustness.objectives import reversed_mask
from omnial.robustness.samples import Clean
from omnial.robustness.transfer import Progress

Batches = Iterator[tuple[Clean, Mapping[str, NDArray[np.float32]]]]


@dataclass(frozen=True)
class WhiteBoxPlan:
    """How hard a model is attacked.

    Attributes:
        samples: First samples of each class that are attacked. [O]
        schedule: More steps than the set's, with restarts and momentum. [O]
        unbounded: The attack without bounds that checks the attack itself. [O]
        unbounded_samples: Samples of each class for that.
        batch_size: Samples that are attacked at once.
        seed: Of the attacks' starts.
    """

    samples: int = 10
    schedule: Schedule = field(default_factory=lambda: Schedule(20, momentum=0.75, restarts=2))
    unbounded: Schedule = field(default_factory=lambda: Schedule(40, random_start=False))
    unbounded_samples: int = 5
    batch_size: int = 10
    seed: int = 0


@dataclass(frozen=True)
class WhiteBox:
    """What a model makes of attacks on itself.

    Attributes:
        levels: Figures of level `0` (unattacked) and of the untargeted levels.
        checks: Whether the attack is one.
    """

    levels: Mapping[str, LevelFigures]
    checks: tuple[Check, ...]


def attack_white_box(
    model: TrainedModel, data: AdversarialSet, plan: WhiteBoxPlan, advance: Progress | None = None
) -> WhiteBox:
    """Attack a model on the clean samples of a set, at 1 to 8 grey levels.

    Args:
        model: Any model of the set's classes and size.
        data: The set; its own perturbations play no part.
        plan: How hard.
        advance: Told after every batch.

    Returns:
        The figures and the checks, the attack without bounds among them.
    """
    backend, names = TorchBackend(model), (UNATTACKED, *(level.name for level in UNTARGETED))
    traces: dict[str, list[Trace]] = {level.name: [] for level in UNTARGETED}
    rows: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in names}
    unbounded: list[float] = []
    for class_name in data.classes:
        count = len(data.entries(class_name, plan.samples))
        batches = _attacked(model, data, class_name, plan, traces, advance)
        for name, figures in class_figures(backend, batches, names, count).items():
            rows[name][class_name] = figures
        value = _unbounded(model, data, class_name, plan)
        if value is not None:
            unbounded.append(value)
    checks = check_traces(
        {name: joined(parts) for name, parts in traces.items()},
        [level.name for level in sorted(UNTARGETED, key=lambda level: level.grey_levels)],
    )
    checks.append(check_unbounded(float(np.mean(unbounded)) if unbounded else None))
    levels = {name: LevelFigures.over(classes) for name, classes in rows.items()}
    return WhiteBox(levels, tuple(checks))


def _attacked(
    model: TrainedModel,
    data: AdversarialSet,
    class_name: str,
    plan: WhiteBoxPlan,
    traces: dict[str, list[Trace]],
    advance: Progress | None,
) -> Batches:
    """Batches of a class with the model's own perturbations; notes how the attacks went."""
    for batch in data.batches(class_name, plan.batch_size, plan.samples):
        clean = batch.clean
        images = {UNATTACKED: batch.images(UNATTACKED)}
        for level, attacked, trace in attack_levels(
            model, clean, UNTARGETED, plan.schedule, plan.seed
        ):
            images[level.name] = attacked.cpu().numpy()
            traces[level.name].append(trace)
        yield clean, images
        if advance is not None:
            advance(len(clean))


def _unbounded(
    model: TrainedModel, data: AdversarialSet, class_name: str, plan: WhiteBoxPlan
) -> float | None:
    """Pixel AUROC of a class after a targeted attack that may change everything."""
    device = next(model.network.parameters()).device
    count = len(data.entries(class_name, plan.unbounded_samples))

    def batches() -> Batches:
        for batch in data.batches(class_name, plan.batch_size, plan.unbounded_samples):
            clean = batch.clean
            mask = torch.from_numpy(clean.mask[:, None].astype(np.float32)).to(device)
            gamma = model.settings.objective.focal_gamma
            objective = reversed_mask(model.network, mask, gamma)
            random = clean.random(plan.seed, device)
            with undisturbed(model.network):
                images = clean.images(device)
                result = attack(objective, images, Ball(1.0), plan.unbounded, random)
            yield clean, {"unbounded": result.images.cpu().numpy()}

    figures = class_figures(TorchBackend(model), batches(), ("unbounded",), count)
    return figures["unbounded"]["pixel_auroc"]
