"""What attacks ascend beside the training loss: the reversed mask, the score of an image.

Targets are those of the unattacked sample, computed once; every objective has one value a sample.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.attacks.pgd import Objective
from omnial.models.scoring import mean_filter
from omnial.models.window import window_size
from omnial.training.objective import focal_loss

_TEMPERATURE = 0.1
"""Of the smooth maximum over windows, in units of log probability: one window among thousands
that is 1 above the others outweighs them all."""


def reversed_mask(network: nn.Module, mask: Tensor, gamma: float) -> Objective:
    """Minus the focal loss towards 1 - Y: the network is to say the opposite everywhere [P].

    No reconstruction terms: what is rebuilt does not matter to this attack.

    Args:
        network: The attacked network.
        mask: (B, 1, H, W), 1 where the sample is anomalous.
        gamma: Exponent of the focal loss.
    """
    return lambda images: -focal_loss(network(images).logits, 1.0 - mask, gamma)


def image_score(network: nn.Module, valid: Tensor, upward: Tensor) -> Objective:
    """Push the score of an image up (invent a defect) or down (hide one) [O].

    The score is the largest mean over a window of the probability p to be anomalous. Its gradient
    is almost zero where the network is sure, so a smooth stand-in is ascended: the smooth maximum
    over windows of the mean of log p, or the negative of that of -log (1 - p). Either is steep
    as long as its aim is not reached.

    Args:
        network: The attacked network.
        valid: (B, H, W) bool, the pixels that count, at least one an image.
        upward: (B,) bool, True for images whose score is to rise.
    """
    window = window_size(valid.shape[1], valid.shape[2])
    weights = valid.float()
    share = mean_filter(weights, window).clamp_min(torch.finfo(torch.float32).tiny)

    def objective(images: Tensor) -> Tensor:
        logits = network(images).logits.float()
        margin = logits[:, 1] - logits[:, 0]
        aim = torch.where(upward[:, None, None], F.logsigmoid(margin), F.softplus(margin))
        means = mean_filter(aim * weights, window) / share
        means = torch.where(valid, means, -torch.inf)
        largest = _TEMPERATURE * torch.logsumexp(means.flatten(1) / _TEMPERATURE, 1)
        return torch.where(upward, largest, -largest)

    return objective
