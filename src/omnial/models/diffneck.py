"""DiffNeck: what the localization sub-network sees of input, reconstruction and JND map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import LocalizationSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import ConvUnit


def sources(images: Tensor, restored: Tensor, jnd: Tensor, stem: int) -> tuple[Tensor, ...]:
    """The three sources at the sub-network's resolution: 3 s^2, 3 s^2 and s^2 channels."""
    return tuple(F.pixel_unshuffle(source, stem) for source in (images, restored, jnd))


class DiffNeck(nn.Module):
    """Separate paths (one a source) and a unified path: unified + balance * separate.

    Args:
        settings: Width of the first scale, norm, attention and balance factor.
        stem: Pixel-unshuffle factor s of the sources.
    """

    def __init__(self, settings: LocalizationSettings, stem: int) -> None:
        super().__init__()
        self.stem = stem
        self.balance = settings.balance
        self.outputs = settings.widths[0]

        def path(inputs: int) -> nn.Sequential:
            return nn.Sequential(
                ConvUnit(inputs, self.outputs, settings.norm),
                ConvUnit(self.outputs, self.outputs, settings.norm),
                make_attention(settings.attention, self.outputs, settings.norm),
            )

        pixels = stem**2
        self.separate = nn.ModuleList([path(3 * pixels), path(3 * pixels), path(pixels)])
        self.join = ConvUnit(3 * self.outputs, self.outputs, settings.norm)
        self.unified = path(7 * pixels)

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor) -> Tensor:
        """Compare the sources.

        Args:
            images: (B, 3, H, W) the input A.
            restored: (B, 3, H, W) the reconstructed image.
            jnd: (B, 1, H, W) the reconstructed JND map.

        Returns:
            (B, C, H / s, W / s).
        """
        parts = sources(images, restored, jnd, self.stem)
        # The unified path sees A and its difference to the reconstruction: the same channels
        # in another basis, in which the difference need not be learnt first.
        unified: Tensor = self.unified(torch.cat((parts[0], parts[1] - parts[0], parts[2]), 1))
        if self.balance == 0.0:
            return unified
        paths = [path(part) for path, part in zip(self.separate, parts, strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return unified + self.balance * joined


class PlainNeck(nn.Module):
    """The ablation without DiffNeck: the three sources side by side."""

    def __init__(self, stem: int) -> None:
        super().__init__()
        self.stem = stem
        self.outputs = 7 * stem**2

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor) -> Tensor:
        """Concatenate: (B, 7 s^2, H / s, W / s)."""
        return torch.cat(sources(images, restored, jnd, self.stem), 1)
