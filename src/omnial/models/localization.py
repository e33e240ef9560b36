"""The localization sub-network: a U-Net from the neck's features to two classes a pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import LocalizationSettings
from omnial.models.blocks import BasicBlock, ConvBlock, UpBlock

_FIRST_DILATED_SCALE = 2  # the third


class LocalizationNetwork(nn.Module):
    """U-Net with skips.

    Args:
        settings: Widths, norm and dilation.
        inputs: Channels of the neck.
        pixels: Pixels packed into a position, s^2 for a stem of s.
    """

    def __init__(self, settings: LocalizationSettings, inputs: int, pixels: int) -> None:
        super().__init__()
        widths, norm = settings.widths, settings.norm
        self.encoder = nn.ModuleList()
        for index, width in enumerate(widths):
            dilation = settings.dilation if index >= _FIRST_DILATED_SCALE else 1
            self.encoder.append(
                nn.Sequential(
                    ConvBlock(inputs, width, norm, dilation),
                    ConvBlock(width, width, norm, dilation),
                )
            )
            inputs = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for index in reversed(range(len(widths) - 1)):
            width = widths[max(index - 1, 0)]
            self.up.append(UpBlock(inputs, width, norm))
            self.decoder.append(BasicBlock(width + widths[index], width, width, norm))
            inputs = width
        self.head = nn.Conv2d(inputs, 2 * pixels, 3, padding=1)

    def forward(self, neck: Tensor) -> Tensor:
        """Localize.

        Args:
            neck: (B, C, H, W).

        Returns:
            Packed logits (B, 2 s^2, H, W): normal, anomalous.
        """
        skips: list[Tensor] = []
        features = neck
        for index, block in enumerate(self.encoder):
            features = block(features if index == 0 else F.max_pool2d(features, 2))
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            features = block(torch.cat((up(features), skip), 1))
        logits: Tensor = self.head(features)
        return logits
