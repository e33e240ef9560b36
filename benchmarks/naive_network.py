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


def _unit(inputs: int, outputs: int, norm: Norm, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, _norm(norm, outputs), nn.ReLU(inplace=True))


class _Attention(nn.Sequential):
    """DCSA: channel attention, then spatial attention on a standard and a dilated path."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__(_ChannelAttention(channels), _SpatialAttention(norm))


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        weighed: Tensor = features * self.weigh(F.adaptive_avg_pool2d(features, 1))
        return weighed


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


class _Reconstruction(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        own = settings.reconstruction
        widths, norm, scales = own.widths, own.norm, len(own.widths)
        self.stem = settings.stem
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = 3 * settings.stem**2
        for index, width in enumerate(widths):
            self.encoder.append(
                nn.Sequential(_unit(inputs, width, norm), _unit(width, width, norm, own.dilation))
            )
            if index in (1, 2):
                self.encoder[-1].append(_Attention(width, norm))  # type: ignore[operator]
            inputs = width
        for stage in range(1, scales):
            width = widths[max(scales - 2 - stage, 0)]
            self.up.append(nn.ConvTranspose2d(inputs, inputs, 2, stride=2))
            self.decoder.append(
                nn.Sequential(_unit(inputs, inputs, norm), _unit(inputs, width, norm, own.dilation))
            )
            if stage == max(1, scales - 3):
                self.decoder[-1].append(_Attention(width, norm))  # type: ignore[operator]
            inputs = width
        self.head = nn.Conv2d(inputs, 4 * settings.stem**2, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = F.pixel_unshuffle(images, self.stem)
        for index, block in enumerate(self.encoder):
            features = block(F.max_pool2d(features, 2) if index else features)
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(up(features))
        restored = F.pixel_shuffle(self.head(features), self.stem)
        variance, mean = torch.var_mean(images, (2, 3), correction=0, keepdim=True)
        return mean + torch.sqrt(variance + 1e-6) * restored[:, :3], restored[:, 3:]


class _DiffNeck(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        own, pixels = settings.localization, settings.stem**2
        width = own.widths[0]
        self.stem, self.balance = settings.stem, own.balance
        *separate, self.unified = (
            nn.Sequential(
                _unit(inputs * pixels, width, own.norm),
                _unit(width, width, own.norm),
                _Attention(width, own.norm),
            )
            for inputs in (3, 3, 1, 7)
        )
        self.separate = nn.ModuleList(separate)
        self.join = _unit(3 * width, width, own.norm)

    def forward(self, *sources: Tensor) -> Tensor:
        image, restored, jnd = parts = [F.pixel_unshuffle(s, self.stem) for s in sources]
        unified: Tensor = self.unified(torch.cat((image, restored - image, jnd), 1))
        paths = [path(part) for path, part in zip(self.separate, parts, strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return unified + self.balance * joined


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.unit = _unit(inputs, outputs, norm)

    def forward(self, features: Tensor) -> Tensor:
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
        result: Tensor = self.unit(larger)
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
                    _unit(inputs, width, norm, dilation), _unit(width, width, norm, dilation)
                )
            )
            inputs = width
        for index in reversed(range(len(widths) - 1)):
            width = widths[max(index - 1, 0)]
            self.up.append(_Up(inputs, width, norm))
            self.decoder.append(
                nn.Sequential(_unit(width + widths[index], width, norm), _unit(width, width, norm))
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
