"""DCSA and the modules that the paper compares it with (Table 6 of the supplement)."""

from typing import Protocol

import torch
from torch import Tensor, nn

from omnial.config.own_code import call_own
from omnial.config.settings import Attention, Norm
from omnial.errors import UserError

_DILATED_SHARE = 0.1  # weight of the dilated path against the standard one


class ChannelAttention(nn.Module):
    """Channel attention: average pool, two 1x1 convolutions without bias, sigmoid: 2 C^2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Gate the channels of (B, C, H, W)."""
        positions = features.shape[2] * features.shape[3]
        # A sum's gradient is a view, a mean's is written out for every position, contiguous.
        gates: Tensor = self.gate(features.sum((2, 3), keepdim=True) / positions)
        return features * gates


class _SpatialPath(nn.Sequential):
    """A 3x3 convolution 2 -> 1 without bias and an affine norm of one channel: 20 parameters."""

    def __init__(self, norm: Norm, dilation: int) -> None:
        super().__init__(
            nn.Conv2d(2, 1, 3, padding=dilation, dilation=dilation, bias=False),
            nn.InstanceNorm2d(1, affine=True) if norm == "instance" else nn.BatchNorm2d(1),
        )


class DilatedSpatialAttention(nn.Module):
    """Spatial attention from average- and max-pooled maps, a standard and a dilated path."""

    def __init__(self, norm: Norm, dilation: int = 2) -> None:
        super().__init__()
        self.standard = _SpatialPath(norm, 1)
        self.dilated = _SpatialPath(norm, dilation)

    def forward(self, features: Tensor) -> Tensor:
        """Gate the positions of (B, C, H, W)."""
        mean = features.sum(1, keepdim=True) / features.shape[1]
        # A CPU finds a maximum seven times as slowly in bfloat16; no wider type changes it.
        wide = torch.promote_types(features.dtype, torch.float32)
        highest = features.to(wide).amax(1, keepdim=True).to(features.dtype)
        pooled = torch.cat((mean, highest), 1)
        weights = self.standard(pooled) + _DILATED_SHARE * self.dilated(pooled)
        return features * torch.sigmoid(weights)


class DCSA(nn.Sequential):
    """Dilated channel and spatial attention: 2 C^2 + 40 parameters."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__(ChannelAttention(channels), DilatedSpatialAttention(norm))


class _ResidualBlock(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return torch.relu(features + self.inner(features))


class ResidualBlock(_ResidualBlock):
    """Residual block C -> C/9 -> C of biased 3x3 convolutions with affine batch norm."""

    def __init__(self, channels: int) -> None:
        middle = max(1, round(channels / 9))
        super().__init__(
            nn.Conv2d(channels, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )


class BottleneckBlock(_ResidualBlock):
    """Residual bottleneck, at C = 512: 1x1 to 128, 3x3 to 275, 1x1 to 512, without biases."""

    def __init__(self, channels: int) -> None:
        narrow, middle = max(1, channels // 4), max(1, round(channels * 275 / 512))
        super().__init__(
            nn.Conv2d(channels, narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )


class AttentionPart(Protocol):
    """What an attention module of the user's own must offer: usually it is the module's class."""

    def __call__(self, channels: int, norm: Norm) -> nn.Module:
        """A module from features (B, C, H, W), C channels, to features of the same shape."""


def make_attention(kind: Attention, channels: int, norm: Norm) -> nn.Module:
    """One module for features of C channels; DCSA's paths use the norm of the network around.

    Raises:
        UserError: One of the user's own cannot be imported, or is not what `AttentionPart` says.
    """
    match kind:
        case "ca":
            return ChannelAttention(channels)
        case "dcsa":
            return DCSA(channels, norm)
        case "resblock":
            return ResidualBlock(channels)
        case "bottleneck":
            return BottleneckBlock(channels)
        case "none":
            return nn.Identity()
    module: nn.Module = call_own(kind, channels=channels, norm=norm)
    features = torch.zeros(2, channels, 8, 8)
    found = try_part(kind, module, features)
    if getattr(found, "shape", None) != features.shape:
        raise UserError(
            f"{kind} must keep the shape of its features: of {tuple(features.shape)} it makes "
            f"{tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__}"
        )
    return module


def try_part(path: str, module: object, values: Tensor) -> object:
    """What a module of the user's own makes of some values, so that a mistake shows at once.

    On the `meta` device, where a folder's network gets its shapes, the values are returned.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"{path} must make a torch.nn.Module, not a {type(module).__name__}")
    if values.is_meta:
        return values
    with torch.no_grad():
        found: object = module.eval()(values)
    module.train()
    return found
