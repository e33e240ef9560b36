"""The localization sub-network: a U-Net from the neck's features to two classes a pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import LocalizationSettings
from omnial.models.blocks import BasicBlock, ConvBlock, UpBlock

_FIRST_DILATED_SCALE = 2  # the third


class LocalizationNetwork(nn.Module):
    """U-Net with skips; `inputs` are the neck's channels, `pixels` those packed into a position."""

    def __init__(self, settings: LocalizationSettings, inputs: int, pixels: int) -> None:
        super().__init__()
        widths, norm = settings.widths, settings.norm
        self.encoder = nn.ModuleList()
        for index, width in enumerate(widths):
            dilation = settings.dilation if index >= _FIRST_DILATED_SCALE else 1
            block = (ConvBlock(i, width, norm, dilation) for i in (inputs, width))
            self.encoder.append(nn.Sequential(*block))
            inputs = width
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for index in reversed(range(len(widths) - 1)):
            width = widths[max(index - 1, 0)]
            self.up.append(UpBlock(inputs, width, norm))
            self.decoder.append(BasicBlock(width + widths[index], width, width, norm))
            inputs = width
        self.head = nn.Conv2d(inputs, 2 * pixels, 3, padding=1)

    def forward(self, neck: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, C, H, W) to packed logits (B, 2 s^2, H, W), and the features below them.

        The logits are normal and anomalous, the features those of the decoder, (B, C', H, W).
        """
        skips: list[Tensor] = []
        features = neck
        for index, block in enumerate(self.encoder):
            features = block(features if index == 0 else F.max_pool2d(features, 2))
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            features = block(torch.cat((up(features), skip), 1))
        return self.head(features), features
