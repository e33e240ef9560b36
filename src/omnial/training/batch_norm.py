"""Batch norm over the samples of all processes, so that it sees the batch that one process sees.

PyTorch's own synchronized batch norm works on GPUs alone.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.distributed import collectives


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose training statistics are those of all processes' samples.

    Every process must bring equally many values. In eval mode it is plain batch norm.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, H, W), and move the running statistics."""
        if not self.training or not collectives.together():
            return super().forward(features)
        # PyTorch's stubs leave `apply` untyped.
        normed, mean, variance = _Normalise.apply(  # type: ignore[no-untyped-call]
            features, self.weight, self.bias, self.eps
        )
        with torch.no_grad():
            count = features.numel() / features.shape[1] * collectives.size()
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1.0)), self.momentum)
        return cast(Tensor, normed)


class _Normalise(torch.autograd.Function):
    """The forward and backward pass, each with one exchange of two numbers a channel.

    Made of the kernels of PyTorch's own batch norm, which read half precision and channels-last as
    they are and count in float32: the same in elementary operations takes nine times as long.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        # The statistics alone are of use; a weight of float32 makes them float32.
        _, own_mean, own_scale = torch.native_batch_norm(
            features, weight, bias, None, None, True, 0.0, epsilon
        )
        means, scales = _of_all(torch.stack((own_mean, own_scale))).unbind(1)
        mean = means.mean(0)
        # The variance of all is the mean of the variances and the variance of the means.
        variance = (scales**-2 - epsilon).clamp(min=0.0).mean(0)
        variance += (means - mean).square().mean(0)
        ctx.epsilon = epsilon
        ctx.save_for_backward(features, weight, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        normed = F.batch_norm(features, mean, variance, weight, bias, False, 0.0, epsilon)
        return normed, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, variance = ctx.saved_tensors
        # As in eval mode, for which mean and variance are constants.
        inputs, slopes, offsets = torch.ops.aten.native_batch_norm_backward(
            *(gradients[0], features, weight, mean, variance, None, None),
            *(False, ctx.epsilon, [True, True, True]),
        )
        # What the dependence of mean and variance on the features adds is linear in them.
        sums = _of_all(torch.stack((offsets, slopes))).sum(0)
        count = features.numel() / features.shape[1] * collectives.size()
        offset, slope = -sums * weight * torch.rsqrt(variance + ctx.epsilon) / count
        inputs += F.batch_norm(features, mean, variance, slope, offset, eps=ctx.epsilon)
        # Those of the parameters stay this process's: they are averaged with all others.
        return inputs, slopes.to(weight.dtype), offsets.to(weight.dtype), None


def share_batch_norm(network: nn.Module, on_gpu: bool) -> None:
    """Make each batch norm inside a network one over the samples of all processes.

    Parameters and buffers stay the same objects, under the same names.
    """
    if on_gpu:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared._parameters.update(child._parameters)
                shared._buffers.update(child._buffers)
                setattr(module, name, shared)


def _of_all(values: Tensor) -> Tensor:
    """The same tensor of every process: (...) to (processes, ...)."""
    held = [torch.empty_like(values) for _ in range(collectives.size())]
    dist.all_gather(held, values.contiguous())
    return torch.stack(held)
