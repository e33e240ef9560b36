"""DiffNeck: what the localization sub-network sees of input, reconstruction and JND map."""

import torch
from torch import Tensor, nn

from omnial.config.settings import LocalizationSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import ConvUnit


class DiffNeck(nn.Module):
    """Separate paths (one a source) and a unified path: unified + balance * separate.

    With a balance factor of 0 the unified path is all there is.

    Args:
        settings: Width of the first scale, norm, attention and balance factor.
        pixels: Pixels packed into a place, s^2 for a stem of s.
    """

    def __init__(self, settings: LocalizationSettings, pixels: int) -> None:
        super().__init__()
        self.balance = settings.balance
        self.outputs = settings.widths[0]

        def path(inputs: int) -> nn.Sequential:
            return nn.Sequential(
                ConvUnit(inputs, self.outputs, settings.norm),
                ConvUnit(self.outputs, self.outputs, settings.norm),
                make_attention(settings.attention, self.outputs, settings.norm),
            )

        # Without weight they would be parameters without a gradient.
        if self.balance:
            self.separate = nn.ModuleList([path(3 * pixels), path(3 * pixels), path(pixels)])
            self.join = ConvUnit(3 * self.outputs, self.outputs, settings.norm)
        self.unified = path(7 * pixels)

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor) -> Tensor:
        """Compare the sources.

        Args:
            images: (B, 3 s^2, H, W) the packed input A.
            restored: (B, 3 s^2, H, W) the reconstructed image.
            jnd: (B, s^2, H, W) the reconstructed JND map.

        Returns:
            (B, C, H, W).
        """
        parts = (images, restored, jnd)
        # The unified path sees A and its difference to the reconstruction: the same channels
        # in another basis, in which the difference need not be learnt first.
        unified: Tensor = self.unified(torch.cat((images, restored - images, jnd), 1))
        if not self.balance:
            return unified
        paths = [path(part) for path, part in zip(self.separate, parts, strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return unified + self.balance * joined


class PlainNeck(nn.Module):
    """The ablation without DiffNeck: the sources side by side.

    Args:
        pixels: Pixels packed into a place, s^2 for a stem of s.
        jnd: Whether there is a JND map.
    """

    def __init__(self, pixels: int, jnd: bool) -> None:
        super().__init__()
        self.outputs = (7 if jnd else 6) * pixels

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor | None) -> Tensor:
        """Concatenate: (B, 7 s^2, H, W), without a JND map (B, 6 s^2, H, W)."""
        sources = (images, restored) if jnd is None else (images, restored, jnd)
        return torch.cat(sources, 1)
