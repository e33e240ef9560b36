"""The paper's network written with the library's layers alone: what the fast one is held against.

The same layers in the same order under the same names, so that it takes the other's weights and
gives its results (`tests/benchmarks/test_naive_network.py`), with nothing done for speed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import ModelSettings, Norm


def _norm(kind: Norm, channels: int, affine: bool = False) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=affine)
    return nn.BatchNorm2d(channels)


def _conv_block(inputs: int, outputs: int, norm: Norm, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, _norm(norm, outputs), nn.ReLU(inplace=True))


class _Attention(nn.Sequential):
    """DCSA: channel attention, then spatial attention on a standard and a dilated path."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__(_ChannelAttention(channels), _SpatialAttention(norm))


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        gated: Tensor = features * self.gate(F.adaptive_avg_pool2d(features, 1))
        return gated


class _SpatialAttention(nn.Module):
    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.standard, self.dilated = (
            nn.Sequential(
                nn.Conv2d(2, 1, 3, padding=dilation, dilation=dilation, bias=False),
                _norm(norm, 1, affine=True),
            )
            for dilation in (1, 2)
        )

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.stack((features.mean(1), features.amax(1)), 1)
        return features * torch.sigmoid(self.standard(pooled) + 0.1 * self.dilated(pooled))


class _ResidualConv(nn.Module):
    def __init__(self, channels: int, norm: Norm, dilation: int) -> None:
        super().__init__()
        self.norm = _norm(norm, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.gain = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.gain * self.conv(F.relu(self.norm(features)))


class _Residual(nn.Module):
    def __init__(self, module: nn.Module, channels: int) -> None:
        super().__init__()
        self.module = module
        self.gain = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.gain * self.module(features)


class _Reconstruction(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        own = settings.reconstruction
        widths, norm, scales = own.widths, own.norm, len(own.widths)
        self.stem = settings.stem
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = 3 * settings.stem**2
        for index, width in enumerate(widths):
            narrow = nn.Conv2d(inputs, width, 3, 2 if index else 1, 1)
            block = nn.Sequential(narrow, _ResidualConv(width, norm, own.dilation))
            if index in (1, 2):
                block.append(_Residual(_Attention(width, norm), width))
            self.encoder.append(block)
            inputs = width
        for stage in range(1, scales):
            width = widths[max(scales - 2 - stage, 0)]
            self.up.append(nn.ConvTranspose2d(inputs, inputs, 2, stride=2))
            narrow = nn.Conv2d(inputs, width, 3, padding=1)
            block = nn.Sequential(_ResidualConv(inputs, norm, own.dilation), narrow)
            if stage == max(1, scales - 3):
                block.append(_Residual(_Attention(width, norm), width))
            self.decoder.append(block)
            inputs = width
        self.head = nn.Conv2d(inputs, 4 * settings.stem**2, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images.mean((2, 3), keepdim=True)
        features = F.pixel_unshuffle(images - mean, self.stem)
        for block in self.encoder:
            features = block(features)
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(up(features))
        restored = F.pixel_shuffle(self.head(features), self.stem)
        return mean + restored[:, :3], restored[:, 3:]


class _DiffNeck(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        own, pixels = settings.localization, settings.stem**2
        width = own.widths[0]
        self.stem, self.balance = settings.stem, own.balance
        *separate, self.unified = (
            nn.Sequential(
                _conv_block(inputs, width, own.norm),
                _conv_block(width, width, own.norm),
                _Attention(width, own.norm),
            )
            for inputs in (3 * pixels, 3 * pixels, pixels, 7 * pixels)
        )
        self.separate = nn.ModuleList(separate)
        self.join = _conv_block(3 * width, width, own.norm)

    def forward(self, *sources: Tensor) -> Tensor:
        image, restored, jnd = parts = [F.pixel_unshuffle(s, self.stem) for s in sources]
        unified: Tensor = self.unified(torch.cat((image, restored - image, jnd), 1))
        paths = [path(part) for path, part in zip(self.separate, parts, strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return unified + self.balance * joined


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.block = _conv_block(inputs, outputs, norm)

    def forward(self, features: Tensor) -> Tensor:
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
        result: Tensor = self.block(larger)
        return result


class _Localization(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        own = settings.localization
        widths: Sequence[int] = own.widths
        norm, inputs = own.norm, own.widths[0]
        self.stem = settings.stem
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for index, width in enumerate(widths):
            dilation = own.dilation if index >= 2 else 1
            self.encoder.append(
                nn.Sequential(
                    _conv_block(inputs, width, norm, dilation),
                    _conv_block(width, width, norm, dilation),
                )
            )
            inputs = width
        for index in reversed(range(len(widths) - 1)):
            width = widths[max(index - 1, 0)]
            self.up.append(_Up(inputs, width, norm))
            self.decoder.append(
                nn.Sequential(
                    _conv_block(width + widths[index], width, norm), _conv_block(width, width, norm)
                )
            )
            inputs = width
        self.head = nn.Conv2d(inputs, 2 * settings.stem**2, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for index, block in enumerate(self.encoder):
            features = block(F.max_pool2d(features, 2) if index else features)
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            features = block(torch.cat((up(features), skip), 1))
        return F.pixel_shuffle(self.head(features), self.stem)


class NaiveNetwork(nn.Module):
    """The system `omnial` at any size; the images must be a multiple of the coarsest cell."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.reconstruction = _Reconstruction(settings)
        self.neck = _DiffNeck(settings)
        self.localization = _Localization(settings)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to image, JND map and logits, as `omnial.models.system.Output`."""
        restored, jnd = self.reconstruction(images)
        return restored, jnd, self.localization(self.neck(images, restored, jnd))
