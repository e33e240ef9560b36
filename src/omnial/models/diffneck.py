"""DiffNeck: what the localization sub-network sees of input, reconstruction and JND map."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import LocalizationSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import ConvBlock

_LEAST: Final = 1e-3
"""Of a mean difference: a quarter of a grey level."""


class DiffNeck(nn.Module):
    """Separate paths (one a source) and a unified path: unified + balance * separate.

    With a balance factor of 0 the unified path is all there is. `pixels` are those packed into a
    position, s^2 for a stem of s.
    """

    def __init__(self, settings: LocalizationSettings, pixels: int) -> None:
        super().__init__()
        self.balance = settings.balance
        self.windows = settings.difference_windows
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
        self.unified = path(7 * pixels + 2 * len(self.windows))

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor) -> Tensor:
        """Compare the packed input A, its reconstruction, each (B, 3 s^2, H, W), and the JND map.

        The map is (B, s^2, H, W), the result (B, C, H, W).
        """
        # The unified path sees A and its difference to the reconstruction: the same channels
        # in another basis, in which the difference need not be learnt first.
        difference = restored - images
        # In autocast the map has the precision of the convolutions already.
        seen = [part.to(jnd.dtype) for part in (images, difference, jnd)]
        if self.windows:
            seen.append(self._sizes(difference).to(jnd.dtype))
        unified: Tensor = self.unified(torch.cat(seen, 1))
        if not self.balance:
            return unified
        sources = (seen[0], restored.to(jnd.dtype), jnd)
        paths = [path(part) for path, part in zip(self.separate, sources, strict=True)]
        joined: Tensor = self.join(torch.cat(paths, 1))
        return unified + self.balance * joined

    def _sizes(self, difference: Tensor) -> Tensor:
        """How large the difference is around each position: (B, 2 N, H, W) for N windows.

        Every second is relative to the image's mean: what is blurred everywhere is no defect.
        """
        size = difference.float().abs().sum(1, keepdim=True) / difference.shape[1]
        mean = size.mean((2, 3), keepdim=True) + _LEAST
        around = [
            F.avg_pool2d(size, window, 1, window // 2, count_include_pad=False)
            for window in self.windows
        ]
        sizes = [values[:, 0] for near in around for values in (near, near / mean)]
        return torch.stack(sizes, -1).permute(0, 3, 1, 2)  # channels-last, as the rest


class PlainNeck(nn.Module):
    """The ablation without DiffNeck: the sources side by side, with or without a JND map."""

    def __init__(self, pixels: int, jnd: bool) -> None:
        super().__init__()
        self.outputs = (7 if jnd else 6) * pixels

    def forward(self, images: Tensor, restored: Tensor, jnd: Tensor | None) -> Tensor:
        """Concatenate: (B, 7 s^2, H, W), without a JND map (B, 6 s^2, H, W)."""
        sources = (images, restored) if jnd is None else (images, restored, jnd)
        return torch.cat(sources, 1)
