"""The training objective: MSE and SSIM on image and JND map, focal loss on the mask."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.attacks.pgd import Objective
from omnial.config.settings import ObjectiveSettings
from omnial.filters import ssim_map
from omnial.models.system import Output
from omnial.synthesis.recipe import SynthesizedBatch


class Losses(NamedTuple):
    """The terms of the objective, unweighted: one value a sample."""

    image_mse: Tensor
    image_ssim: Tensor
    jnd_mse: Tensor
    jnd_ssim: Tensor
    focal: Tensor

    def total(self, weights: ObjectiveSettings) -> Tensor:
        """The weighted sum, one value a sample: (B,)."""
        return (
            weights.image_mse * self.image_mse
            + weights.image_ssim * self.image_ssim
            + weights.jnd_mse * self.jnd_mse
            + weights.jnd_ssim * self.jnd_ssim
            + weights.focal * self.focal
        )


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of each sample, weighted by (B, 1, H, W): (B, C, H, W) to (B,) float32."""
    # PyTorch's stubs leave `apply` untyped.
    return cast(Tensor, _SquaredError.apply(prediction.float(), target, weight))  # type: ignore[no-untyped-call]


class _SquaredError(torch.autograd.Function):
    """In half as many passes over memory as the library's loss, a product and a mean."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        error = prediction - target
        weighted = weight * error
        ctx.save_for_backward(weighted)
        total: Tensor = torch.linalg.vecdot(weighted.flatten(1), error.flatten(1))
        return total / error[0].numel()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weighted,) = ctx.saved_tensors
        scale = 2.0 / weighted[0].numel() * gradients[0]
        return scale[:, None, None, None] * weighted, None, None


def ssim_loss(
    prediction: Tensor, target: Tensor, stride: int, weight: Tensor | float = 1.0
) -> Tensor:
    """Mean weighted 1 - SSIM of each sample, arguments as above: (B,) float32.

    It is taken at every stride-th row and column only.
    """
    if isinstance(weight, Tensor):
        weight = weight[..., ::stride, ::stride]
    return (weight * (1.0 - ssim_map(prediction.float(), target, stride))).mean((1, 2, 3))


def focal_loss(logits: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017) without class weights: mean of -(1 - p_t)^gamma log p_t.

    From logits (B, 2, H, W), normal and anomalous, of any float type, and a mask (B, 1, H, W), 1
    where anomalous, to (B,) float32. A gamma of 0 is cross entropy.
    """
    # With two classes, log p_t = logsigmoid(margin), the margin being that of the true class, and
    # log (1 - p_t) = log p_t - margin. A power of 1 - p_t itself, which rounds to 0, would have an
    # infinite slope there where gamma is below 1.
    logits = logits.float()
    normal, anomalous = logits.unbind(1)
    margin = (anomalous - normal) * (2.0 * mask[:, 0] - 1.0)
    log_likelihood = F.logsigmoid(margin)
    weight = torch.exp(gamma * (log_likelihood - margin))
    return -(weight * log_likelihood).mean((1, 2))


def losses(output: Output, batch: SynthesizedBatch, settings: ObjectiveSettings) -> Losses:
    """All terms of the objective, unweighted, of the network's output for the anomalous images.

    Five (B,) float32 tensors; the terms of a JND map that the network does not have are 0.
    """
    stride = settings.ssim_stride
    weight = 1.0 + (settings.defect_weight - 1.0) * batch.mask
    none = torch.zeros_like(batch.mask[:, 0, 0, 0])
    jnd = None if output.jnd is None else output.jnd.float()
    return Losses(
        squared_error(output.reconstruction, batch.normal, weight),
        ssim_loss(output.reconstruction, batch.normal, stride, weight),
        none if jnd is None else squared_error(jnd, batch.jnd, weight),
        none if jnd is None else ssim_loss(jnd, batch.jnd, stride, weight),
        focal_loss(output.logits, batch.mask, settings.focal_gamma),
    )


def training_loss(
    network: nn.Module, targets: SynthesizedBatch, settings: ObjectiveSettings
) -> Objective:
    """The loss as a function of the images: what the untargeted attack ascends [P].

    The targets are those of the unattacked sample; nothing of the network is changed.
    """

    def objective(images: Tensor) -> Tensor:
        output = network(images)
        with torch.autocast(images.device.type, enabled=False):
            return losses(output, targets, settings).total(settings)

    return objective
