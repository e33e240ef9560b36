"""The reconstruction sub-network: an image with defects in, the normal image and its JND out.

An encoder-decoder without skips from the input to the output; basic blocks alternate with DCSA
blocks. The layer list is the one that meets the published parameter count within 512.

With `plain` blocks it is built as published: pooling, convolution, norm, ReLU. That stays at a flat
image for its first 5,000 to 8,000 images. With `residual` blocks the same convolutions start as a
linear autoencoder of the image without its mean colour: pooling becomes a stride, and norm, ReLU
and the attention modules stand in branches whose gains are 0 at the start
(docs/results/reconstruction.md says what each of these does).
"""

import torch
from torch import Tensor, nn

from omnial.config.settings import Blocks, ReconstructionSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import BasicBlock, Residual, ResidualConv, UpBlock

_FLAT = 1e-6


class ReconstructionNetwork(nn.Module):
    """Encoder of L scales, decoder of L - 1 stages, one head for the image and, if asked for, JND.

    Args:
        settings: Widths, norm, dilation, attention, upsampling, and whether JND is wanted.
        blocks: `residual` or, as published, `plain`.
        pixels: Pixels packed into a position, s^2 for a stem of s.
    """

    def __init__(self, settings: ReconstructionSettings, blocks: Blocks, pixels: int) -> None:
        super().__init__()
        widths, scales = settings.widths, len(settings.widths)
        self.pixels = pixels
        self.jnd = settings.jnd
        self.residual = blocks == "residual"
        self.restore_colour = settings.restore_colour
        # Three modules: after the second and third encoder block and after the decoder stage
        # that returns to the second block's width.
        encoder_modules = {1, 2}
        decoder_module = max(1, scales - 3)
        encoder_block, decoder_block, up = (
            (_residual_encoder, _residual_decoder, _residual_up)
            if self.residual
            else (_plain_encoder, _plain_decoder, _plain_up)
        )
        self.encoder = nn.ModuleList()
        inputs = 3 * pixels
        for index, width in enumerate(widths):
            attention = index in encoder_modules
            self.encoder.append(encoder_block(settings, inputs, width, index == 0, attention))
            inputs = width
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for stage in range(1, scales):
            width = widths[max(scales - 2 - stage, 0)]
            self.up.append(up(settings, inputs))
            self.decoder.append(decoder_block(settings, inputs, width, stage == decoder_module))
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
        colour = _mean_colour(images) if self.residual else None
        features = images if colour is None else images - colour
        for block in self.encoder:
            features = block(features)
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(up(features))
        maps = self.head(features)
        image = maps[:, : 3 * self.pixels]
        jnd = maps[:, 3 * self.pixels :] if self.jnd else None
        if colour is not None:
            image = image + colour
        elif self.restore_colour:
            image = _with_colours_of(images, image)
        return image, jnd


def _plain_encoder(
    settings: ReconstructionSettings, inputs: int, width: int, first: bool, attention: bool
) -> nn.Sequential:
    """Pool, but at the first scale; basic block; attention."""
    block = BasicBlock(inputs, width, width, settings.norm, settings.dilation)
    if attention:
        block.append(make_attention(settings.attention, width, settings.norm))
    return block if first else nn.Sequential(nn.MaxPool2d(2), *block)


def _plain_up(settings: ReconstructionSettings, channels: int) -> nn.Module:
    """Twice the rows and columns."""
    if settings.upsampling == "transposed":
        return nn.ConvTranspose2d(channels, channels, 2, stride=2)
    return UpBlock(channels, channels, settings.norm)


def _plain_decoder(
    settings: ReconstructionSettings, inputs: int, width: int, attention: bool
) -> nn.Sequential:
    """Basic block; attention."""
    block = BasicBlock(inputs, inputs, width, settings.norm, settings.dilation)
    if attention:
        block.append(make_attention(settings.attention, width, settings.norm))
    return block


def _residual_encoder(
    settings: ReconstructionSettings, inputs: int, width: int, first: bool, attention: bool
) -> nn.Sequential:
    """The convolution that changes the width, with a stride after the first scale; branches."""
    block = nn.Sequential(
        nn.Conv2d(inputs, width, 3, stride=1 if first else 2, padding=1),
        ResidualConv(width, settings.norm, settings.dilation),
    )
    return _with_attention(block, settings, width, attention)


def _residual_up(settings: ReconstructionSettings, channels: int) -> nn.Module:
    """Twice the rows and columns, linearly."""
    if settings.upsampling == "transposed":
        return nn.ConvTranspose2d(channels, channels, 2, stride=2)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def _residual_decoder(
    settings: ReconstructionSettings, inputs: int, width: int, attention: bool
) -> nn.Sequential:
    """A branch; the convolution that changes the width; attention."""
    block = nn.Sequential(
        ResidualConv(inputs, settings.norm, settings.dilation),
        nn.Conv2d(inputs, width, 3, padding=1),
    )
    return _with_attention(block, settings, width, attention)


def _with_attention(
    block: nn.Sequential, settings: ReconstructionSettings, width: int, attention: bool
) -> nn.Sequential:
    if attention and settings.attention != "none":
        module = make_attention(settings.attention, width, settings.norm)
        block.append(Residual(module, width))
    return block


def _mean_colour(images: Tensor) -> Tensor:
    """The mean of each colour, for every packed channel: (B, 3 s^2, H, W) to (B, 3 s^2, 1, 1)."""
    batch, channels = images.shape[:2]
    means = images.float().reshape(batch, 3, -1).mean(2)
    return means.repeat_interleave(channels // 3, 1)[:, :, None, None]


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
