"""The blocks that every network here is made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import Norm
from omnial.models.channels_last import InstanceNorm


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Instance norm without, or batch norm with, its scales and shifts.

    The published parameter counts favour biased convolutions with instance norm that has none.
    """
    return InstanceNorm() if norm == "instance" else nn.BatchNorm2d(channels)


class ConvBlock(nn.Sequential):
    """A 3x3 convolution with bias, norm and ReLU: (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation),
            make_norm(norm, outputs),
            nn.ReLU(inplace=True),
        )


class BasicBlock(nn.Sequential):
    """Two convolution blocks; the second may be dilated."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, norm: Norm, dilation: int = 1
    ) -> None:
        super().__init__(
            ConvBlock(inputs, middle, norm),
            ConvBlock(middle, outputs, norm, dilation),
        )


class ResidualConv(nn.Module):
    """x + g conv(relu(norm(x))): (B, C, H, W) to the same shape.

    The gains g, one a channel, are 0 at the start: a chain of these begins as a linear network,
    which learns within a hundred steps what a chain with norm and ReLU in its way learns in
    thousands (compare ReZero, Bachlechner et al. 2021).
    """

    def __init__(self, channels: int, norm: Norm, dilation: int = 1) -> None:
        super().__init__()
        self.norm = make_norm(norm, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.gain = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Add the branch."""
        branch: Tensor = self.conv(torch.relu(self.norm(features)))
        return features + self.gain.to(branch.dtype) * branch


class Residual(nn.Module):
    """x + g module(x), with gains g that are 0 at the start: (B, C, H, W) to the same shape."""

    def __init__(self, module: nn.Module, channels: int) -> None:
        super().__init__()
        self.module = module
        self.gain = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Add the module's result."""
        branch: Tensor = self.module(features)
        return features + self.gain.to(branch.dtype) * branch


class UpBlock(nn.Module):
    """Bilinear upsampling by two with aligned corners, then a convolution block (as in DRAEM)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.block = ConvBlock(inputs, outputs, norm)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', 2H, 2W)."""
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
        result: Tensor = self.block(larger)
        return result
