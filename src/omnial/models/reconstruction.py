"""The reconstruction sub-network: an image with defects in, the normal image and its JND out.

An encoder-decoder without skips, so that a defect cannot slip past the bottleneck; basic blocks
alternate with DCSA blocks. The layer list is the one that meets the published parameter count
within 512.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.settings import ReconstructionSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import BasicBlock, UpUnit

_FLAT = 1e-6


class ReconstructionNetwork(nn.Module):
    """Encoder of L scales, decoder of L - 1 stages, one head for the image and, if asked for, JND.

    Args:
        settings: Widths, norm, dilation, attention, upsampling, and whether JND is wanted.
        pixels: Pixels packed into a place, s^2 for a stem of s.
    """

    def __init__(self, settings: ReconstructionSettings, pixels: int) -> None:
        super().__init__()
        widths, norm = settings.widths, settings.norm
        scales = len(widths)
        self.pixels = pixels
        self.jnd = settings.jnd
        self.restore_colour = settings.restore_colour
        # Three modules: after the second and third encoder block and after the decoder stage
        # that returns to the second block's width.
        encoder_modules = {1, 2}
        decoder_module = max(1, scales - 3)
        self.encoder = nn.ModuleList()
        inputs = 3 * pixels
        for index, width in enumerate(widths):
            block = BasicBlock(inputs, width, width, norm, settings.dilation)
            if index in encoder_modules:
                block.append(make_attention(settings.attention, width, norm))
            self.encoder.append(block)
            inputs = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for stage in range(1, scales):
            width = widths[max(scales - 2 - stage, 0)]
            self.up.append(
                nn.ConvTranspose2d(inputs, inputs, 2, stride=2)
                if settings.upsampling == "transposed"
                else UpUnit(inputs, inputs, norm)
            )
            block = BasicBlock(inputs, inputs, width, norm, settings.dilation)
            if stage == decoder_module:
                block.append(make_attention(settings.attention, width, norm))
            self.decoder.append(block)
            inputs = width
        self.head = nn.Conv2d(inputs, (4 if settings.jnd else 3) * pixels, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Reconstruct.

        Args:
            images: (B, 3 s^2, H, W) packed images in [0, 1], H and W multiples of 2^(L - 1).

        Returns:
            The normal image (B, 3 s^2, H, W) and its JND target (B, s^2, H, W) or None, both
            packed.
        """
        features = images
        for index, block in enumerate(self.encoder):
            features = block(features if index == 0 else F.max_pool2d(features, 2))
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(up(features))
        maps = self.head(features)
        image = maps[:, : 3 * self.pixels]
        jnd = maps[:, 3 * self.pixels :] if self.jnd else None
        if self.restore_colour:
            image = _with_colours_of(images, image)
        return image, jnd


def _with_colours_of(images: Tensor, contrast: Tensor) -> Tensor:
    """Scale and shift each colour of the output by the input's deviation and mean.

    Instance norm takes an image's colour and contrast away in every layer; without them a wooden
    board comes out grey, and the error of that drowns the error of a defect.
    """
    batch, channels, height, width = images.shape
    cells = (batch, 3, channels // 3, height, width)
    colours = images.view(cells).float()
    # The root of a flat image's zero would have no gradient towards the image.
    variance, mean = torch.var_mean(colours, (2, 3, 4), correction=0, keepdim=True)
    deviation = torch.sqrt(variance + _FLAT)
    return torch.addcmul(mean, deviation, contrast.view(cells)).flatten(1, 2)
