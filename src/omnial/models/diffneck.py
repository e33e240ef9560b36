"""DiffNeck: what the localization sub-network sees of input, reconstruction and JND map."""

import torch
from torch import Tensor, nn

from omnial.config.settings import LocalizationSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import ConvBlock


class DiffNeck(nn.Module):
    """Separate paths (one a source) and a unified path: unified + balance * separate.

    With a balance factor of 0 the unified path is all there is. `pixels` are those packed into a
    position, s^2 for a stem of s.
    """

    def __init__(self, settings: LocalizationSettings, pixels: int) -> None:
        super().__init__()
        self.balance = settings.balance
        self.outputs = settings.widths[0]

        def path(inputs: int) -> nn.Sequential:
            return nn.Sequential(
                ConvBlock(inputs, self.outputs, settings.norm),
                ConvBlock(self.outputs, self.outputs, settings.norm),
                make_attention(settings.attention, self.outputs, settings.norm),
            )

        # Without weight they would be parameters without a gradient.
        if self.balance:
            self.separate = nn.ModuleList([path(3 * pixels), path(3 * pixels), path(pixels)])
            self.join = ConvBlock(3 * self.outputs, self.outputs, settings.norm)
        self.unified = path(7 * pixels)

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor) -> Tensor:
        """Compare the packed input A, its reconstruction, each (B, 3 s^2, H, W), and the JND map.

        The map is (B, s^2, H, W), the result (B, C, H, W).
        """
        # The unified path sees A and its difference to the reconstruction: the same channels
        # in another basis, in which the difference need not be learnt first.
        difference = restored - images
        # In autocast the map has the precision of the convolutions already.
        seen = [part.to(jnd.dtype) for part in (images, difference, jnd)]
        unified: Tensor = self.unified(torch.cat(seen, 1))
        if not self.balance:
            return unified
        sources = (seen[0], restored.to(jnd.dtype), jnd)
        paths = [path(part) for path, part in zip(self.separate, sources, strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return unified + self.balance * joined


class PlainNeck(nn.Module):
    """The ablation without DiffNeck: the sources side by side, with or without a JND map."""

    def __init__(self, pixels: int, jnd: bool) -> None:
        super().__init__()
        self.outputs = (7 if jnd else 6) * pixels

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor | None) -> Tensor:
        """Concatenate: (B, 7 s^2, H, W), without a JND map (B, 6 s^2, H, W)."""
        sources = (images, restored) if jnd is None else (images, restored, jnd)
        return torch.cat(sources, 1)
