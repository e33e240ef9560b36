"""Objectives of the attacks besides the training loss: the reversed mask, an image's score.

Targets are those of the unattacked sample, computed once; every objective has one value a sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.attacks.pgd import Ball, Level, Objective, Schedule, undisturbed
from omnial.config.settings import ImageScore
from omnial.models.scoring import window_means
from omnial.models.trained_model import TrainedModel
from omnial.robustness.attack_checks import Trace, traced_attack
from omnial.robustness.clean_samples import SetSamples
from omnial.training.objective import focal_loss, training_loss

_TEMPERATURE: Final[Mapping[ImageScore, float]] = {"top_mean": 1.0, "window_maximum": 0.1}
"""Of the smooth maximum, in units of log probability. Among pixels it is soft, since hundreds of
them count; one window among thousands that is 1 above the others outweighs them all."""


def attack_levels(
    model: TrainedModel,
    clean: SetSamples,
    levels: Sequence[Level],
    schedule: Schedule,
    seed: int,
) -> Iterator[tuple[Level, Tensor, Trace]]:
    """Attack samples at several levels: the training loss up, or towards the reversed mask.

    Each gives the level, the attacked images (n, 3, H, W), and how it went.
    """
    device = next(model.network.parameters()).device
    targets, settings = clean.targets(device), model.settings.objective
    untargeted = training_loss(model.network, targets, settings)
    targeted = reversed_mask(model.network, targets.mask, settings.focal_gamma)
    random = clean.random(seed, device)
    with undisturbed(model.network):
        for level in levels:
            objective = targeted if level.targeted else untargeted
            ball = Ball(level.epsilon)
            images, trace = traced_attack(objective, targets.anomalous, ball, schedule, random)
            yield level, images, trace


def reversed_mask(network: nn.Module, mask: Tensor, gamma: float) -> Objective:
    """Minus the focal loss towards 1 - Y: the network is to say the opposite everywhere [P].

    No reconstruction terms: what is rebuilt does not matter to this attack. The mask Y
    (B, 1, H, W) is 1 where the sample is anomalous, gamma the exponent of the focal loss.
    """
    return lambda images: -focal_loss(network(images).logits, 1.0 - mask, gamma)


def score_objective(
    network: nn.Module, valid: Tensor, upward: Tensor, rule: ImageScore
) -> Objective:
    """Push the score of an image up (invent a defect) or down (hide one) [O].

    The score is a mean of the probability p to be anomalous, over the highest pixels or over the
    window where it is largest. Its gradient is almost zero where the network is sure, and zero
    at all pixels that just now are not among the highest, so a smooth stand-in is ascended: the
    smooth maximum, over pixels or window means, of log p, or the negative of that of
    -log (1 - p). Either is steep as long as its aim is not reached.

    `valid` (B, H, W) bool are the pixels that count, at least one an image; `upward` (B,) bool is
    True for images whose score is to rise; `rule` is the network's, from score map to score.
    """

    def objective(images: Tensor) -> Tensor:
        logits = network(images).logits.float()
        margin = logits[:, 1] - logits[:, 0]
        aim = torch.where(upward[:, None, None], F.logsigmoid(margin), F.softplus(margin))
        if rule == "top_mean":
            aims = torch.where(valid, aim, -torch.inf)
        else:
            aims = window_means(aim, valid)
        temperature = _TEMPERATURE[rule]
        largest = temperature * torch.logsumexp(aims.flatten(1) / temperature, 1)
        return torch.where(upward, largest, -largest)

    return objective
