"""Faster forms of PyTorch's own layers, for convolutions in channels-last layout.

`nn.InstanceNorm2d`, `nn.PixelUnshuffle` and `nn.PixelShuffle` give the same numbers; read those
first. Convolutions run fastest in channels-last layout on every device, and these neither leave
nor enter it with a copy of their own.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-5


def to_channels_last(network: nn.Module) -> nn.Module:
    """Put a network's weights into channels-last layout, in place; its features follow."""
    # PyTorch's stubs leave out this overload of `to`.
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


class InstanceNorm(nn.Module):
    """Instance norm without scales and shifts: (B, C, H, W) to the same shape.

    PyTorch's own leaves the channels-last layout, forward and backward. Its batch norm has a
    kernel for that layout, and batch norm of one image is instance norm.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Give each channel of each image mean 0 and variance 1; it needs two values for that."""
        # A weight of float32 makes the statistics float32. Without one, a processor keeps those of
        # half precision in half precision, whose rounding of a mean can be the whole deviation.
        half = features.dtype in (torch.bfloat16, torch.float16)
        weight = torch.ones(features.shape[1], device=features.device) if half else None
        on_cpu = features.device.type == "cpu" and not torch.compiler.is_compiling()
        if on_cpu and features.is_contiguous(memory_format=torch.channels_last):
            if features.shape[2] * features.shape[3] == 1:
                raise ValueError(f"instance norm of single values: {tuple(features.shape)}")
            # PyTorch's stubs leave `apply` untyped.
            return cast(Tensor, _ChannelsLastInstanceNorm.apply(features, weight))  # type: ignore[no-untyped-call]
        return F.instance_norm(features, weight=weight, eps=_EPSILON)


class _ChannelsLastInstanceNorm(torch.autograd.Function):
    """Batch norm's channels-last kernels, image by image."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor | None) -> Tensor:
        normed = torch.empty_like(features)
        means, scales = [], []
        for index in range(len(features)):
            source = features[index : index + 1]
            result, mean, scale = torch.native_batch_norm(
                source, weight, None, None, None, True, 0.0, _EPSILON
            )
            normed[index] = result[0]
            means.append(mean)
            scales.append(scale)
        ctx.save_for_backward(features, weight, torch.stack(means), torch.stack(scales))
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        features, weight, means, scales = ctx.saved_tensors
        (gradient,) = gradients
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        inputs = torch.empty_like(features)
        for index in range(len(features)):
            inputs[index] = torch.ops.aten.native_batch_norm_backward(
                gradient[index : index + 1],
                features[index : index + 1],
                weight,
                None,
                None,
                means[index],
                scales[index],
                True,
                _EPSILON,
                [True, False, False],
            )[0][0]
        return inputs, None


def pack(images: Tensor, stem: int) -> Tensor:
    """Pixel unshuffle into channels-last layout, so that a small network sees a large image.

    From (B, C, s H, s W) to (B, C s^2, H, W), channels-last; a stem s of 1 changes nothing. In one
    copy: turning an image of three channels into channels-last first would cost five times as much
    as the packing itself.
    """
    if stem == 1:
        return images
    batch, channels, height, width = images.shape
    rows, columns = height // stem, width // stem
    cells = images.reshape(batch, channels, rows, stem, columns, stem).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(batch, rows, columns, channels * stem**2).permute(0, 3, 1, 2)


def unpack(packed: Tensor, stem: int) -> Tensor:
    """Pixel shuffle into contiguous layout: (B, C s^2, H, W) to (B, C, s H, s W)."""
    if stem == 1:
        return packed
    batch, rows, columns = (packed.shape[axis] for axis in (0, 2, 3))
    cells = packed.permute(0, 2, 3, 1).reshape(batch, rows, columns, -1, stem, stem)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, stem * rows, stem * columns)
