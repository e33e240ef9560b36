"""The reconstruction sub-network: an image with defects in, the normal image and its JND out.

An encoder-decoder without skips from the input to the output; basic blocks alternate with DCSA
blocks. The layer list is the one that meets the published parameter count within 512.

With `plain` blocks it is built as published: pooling, convolution, norm, ReLU. That stays at a flat
image for its first 5,000 to 8,000 images. With `residual` blocks the same convolutions start as a
linear autoencoder of the image without its mean colour: pooling becomes a stride, and norm, ReLU
and the attention modules stand in branches whose gains are 0 at the start
(docs/results/reconstruction.md says what each of these does).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from omnial.config.settings import Blocks, ReconstructionSettings
from omnial.models.attention import make_attention
from omnial.models.blocks import BasicBlock, Residual, ResidualConv, UpBlock

_FLAT = 1e-6


class Reconstruction(NamedTuple):
    """Result of the reconstruction sub-network, packed."""

    image: Tensor
    """(B, 3 s^2, H, W), the normal image."""
    jnd: Tensor | None
    """(B, s^2, H, W), its JND target, where it is wanted."""
    encoded: list[Tensor]
    """Features of each encoder scale, (B, C, H / 2^i, W / 2^i)."""


class ReconstructionNetwork(nn.Module):
    """Encoder of L scales, decoder of L - 1 stages, one head for the image and, if asked for, JND.

    `pixels` are those packed into a position, s^2 for a stem of s.
    """

    def __init__(self, settings: ReconstructionSettings, blocks: Blocks, pixels: int) -> None:
        super().__init__()
        widths, scales = settings.widths, len(settings.widths)
        self.pixels = pixels
        self.jnd = settings.jnd
        self.residual = blocks == "residual"
        self.restore_colour = settings.restore_colour
        self.encoder, self.up, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = 3 * pixels
        for index, width in enumerate(widths):
            block = _encoder(settings, self.residual, inputs, width, first=index == 0)
            if index in (1, 2):
                block += _attention(settings, self.residual, width)
            self.encoder.append(nn.Sequential(*block))
            inputs = width
        for stage in range(1, scales):
            width = widths[max(scales - 2 - stage, 0)]
            self.up.append(_up(settings, self.residual, inputs))
            block = _decoder(settings, self.residual, inputs, width)
            # The stage that returns to the second block's width.
            if stage == max(1, scales - 3):
                block += _attention(settings, self.residual, width)
            self.decoder.append(nn.Sequential(*block))
            inputs = width
        self.head = nn.Conv2d(inputs, (4 if settings.jnd else 3) * pixels, 3, padding=1)

    def forward(self, images: Tensor) -> Reconstruction:
        """Reconstruct (B, 3 s^2, H, W) in [0, 1], H and W multiples of 2^(L - 1)."""
        colour = _mean_colour(images) if self.residual else None
        features = images if colour is None else images - colour
        encoded: list[Tensor] = []
        for block in self.encoder:
            features = block(features)
            encoded.append(features)
        for up, block in zip(self.up, self.decoder, strict=True):
            features = block(up(features))
        maps = self.head(features)
        # The gradient of a split is written once, that of two slices three times.
        image, jnd = maps.split((3 * self.pixels, self.pixels), 1) if self.jnd else (maps, None)
        if colour is not None:
            image = image + colour
        elif self.restore_colour:
            image = _with_colours_of(images, image)
        return Reconstruction(image, jnd, encoded)


def _encoder(
    settings: ReconstructionSettings, residual: bool, inputs: int, width: int, first: bool
) -> list[nn.Module]:
    """Half the rows and columns, but at the first scale, and convolutions to another width."""
    norm, dilation = settings.norm, settings.dilation
    if residual:
        change = nn.Conv2d(inputs, width, 3, stride=1 if first else 2, padding=1)
        return [change, ResidualConv(width, norm, dilation)]
    block = BasicBlock(inputs, width, width, norm, dilation)
    return [*block] if first else [nn.MaxPool2d(2), *block]


def _up(settings: ReconstructionSettings, residual: bool, channels: int) -> nn.Module:
    """Twice the rows and columns; in residual networks linearly."""
    if settings.upsampling == "transposed":
        return nn.ConvTranspose2d(channels, channels, 2, stride=2)
    if not residual:
        return UpBlock(channels, channels, settings.norm)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def _decoder(
    settings: ReconstructionSettings, residual: bool, inputs: int, width: int
) -> list[nn.Module]:
    """Convolutions to another width."""
    norm, dilation = settings.norm, settings.dilation
    if residual:
        return [ResidualConv(inputs, norm, dilation), nn.Conv2d(inputs, width, 3, padding=1)]
    return [*BasicBlock(inputs, inputs, width, norm, dilation)]


def _attention(settings: ReconstructionSettings, residual: bool, width: int) -> list[nn.Module]:
    """The attention module, if there is one."""
    if settings.attention == "none":
        return []
    module = make_attention(settings.attention, width, settings.norm)
    return [Residual(module, width) if residual else module]


def _mean_colour(images: Tensor) -> Tensor:
    """The mean of each colour, for every packed channel: (B, 3 s^2, H, W) to (B, 3 s^2, 1, 1)."""
    batch, channels = images.shape[:2]
    means = images.float().mean((2, 3)).reshape(batch, 3, -1).mean(2)
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
