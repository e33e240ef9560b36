"""Attacks at several levels on samples with known targets, for sets and for white boxes."""

from collections.abc import Iterator, Sequence

import torch

from omnial.attacks.ball import Ball
from omnial.attacks.pgd import Schedule, undisturbed
from omnial.models.trained_model import TrainedModel
from omnial.robustness.checks import Trace, traced
from omnial.robustness.levels import Level
from omnial.robustness.objectives import reversed_mask
from omnial.robustness.samples import Clean
from omnial.training.objective import training_loss


def attack_levels(
    model: TrainedModel, clean: Clean, levels: Sequence[Level], schedule: Schedule, seed: int
) -> Iterator[tuple[Level, torch.Tensor, Trace]]:
    """Attack samples at several levels.

    Yields:
        The level, the attacked images (n, 3, H, W), and how it went.
    """
    device = next(model.network.parameters()).device
    targets, settings = clean.targets(device), model.settings.objective
    random = clean.random(seed, device)
    aims = {
        False: training_loss(model.network, targets, settings),
        True: reversed_mask(model.network, targets.mask, settings.focal_gamma),
    }
    with undisturbed(model.network):
        for level in levels:
            objective = aims[level.targeted]
            ball = Ball(level.epsilon)
            images, trace = traced(objective, targets.anomalous, ball, schedule, random)
            yield level, images, trace
