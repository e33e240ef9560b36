"""One file that puts a system together: reconstruction, neck, localization."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.config.load import load_settings
from omnial.config.own_code import call_own
from omnial.config.presets import DEFAULT_SIZE, DEFAULT_SYSTEM
from omnial.config.settings import ModelSettings, is_own
from omnial.errors import UserError
from omnial.models.attention import try_part
from omnial.models.channels_last import pack, unpack
from omnial.models.diffneck import DiffNeck, PlainNeck
from omnial.models.efficientnet import EfficientNet
from omnial.models.localization import LocalizationNetwork
from omnial.models.normality import embedded_scale
from omnial.models.reconstruction import ReconstructionNetwork

_INITIAL_STD = 0.02


class Output(NamedTuple):
    """Result of the network for a batch."""

    reconstruction: Tensor
    """(B, 3, H, W), the normal image; not clipped."""
    jnd: Tensor | None
    """(B, 1, H, W), the JND target clamp(JND / 32, 0, 1) of the normal image; None where the
    network does not reconstruct it."""
    logits: Tensor
    """(B, 2, H, W): normal, anomalous."""
    embedding: Tensor | None = None
    """(B, E, h, w), features of cells of some 8x8 pixels, for `omnial.models.normality`: the
    network's own, then the pretrained ones, if any; in eval mode alone, and None without
    normality."""


class InspectionNetwork(nn.Module):
    """Reconstruction, neck, localization: OmniAL, and by other settings DRAEM, JNLD, ablations."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.stem = settings.stem
        self.second_look = settings.second_look
        self.normality = settings.normality != "none"
        self.embedded = embedded_scale(settings)
        pixels = settings.stem**2
        jnd = settings.reconstruction.jnd
        self.reconstruction = ReconstructionNetwork(
            settings.reconstruction, settings.blocks, pixels
        )
        self.neck = (
            DiffNeck(settings.localization, pixels)
            if settings.localization.diffneck
            else PlainNeck(pixels, jnd)
        )
        self.localization = LocalizationNetwork(settings.localization, self.neck.outputs, pixels)
        if settings.initialisation == "normal":
            # Through residual blocks, which have no norm in their way, such small weights would
            # let next to nothing pass.
            if settings.blocks == "plain":
                self.reconstruction.apply(_draw_normal)
            self.neck.apply(_draw_normal)
            self.localization.apply(_draw_normal)
        scales = max(len(settings.reconstruction.widths), len(settings.localization.widths))
        self.multiple = settings.stem * 2 ** (scales - 1)
        pretrained = settings.normality == "own+pretrained"
        self.pretrained = EfficientNet() if pretrained else None

    def forward(self, images: Tensor) -> Output:
        """Image, JND map and logits of (B, 3, H, W) float images in [0, 1].

        Sizes that are no multiple of the coarsest cell are padded by repeating the border, and the
        results cropped. In eval mode, with `second_look`, the logits are the mean of two looks.
        """
        output = self._look(images, embedded=self.normality and not self.training)
        if self.training:
            return output
        if self.pretrained is not None:
            assert output.embedding is not None
            more = self.pretrained.embedding(images, *output.embedding.shape[-2:])
            output = output._replace(embedding=torch.cat((output.embedding, more), 1))
        if self.second_look == "none":
            return output
        return output._replace(logits=(output.logits + self._half_logits(images)) / 2)

    def _half_logits(self, images: Tensor) -> Tensor:
        """Logits at half the resolution: coarse defects, and a wider view of the part."""
        height, width = images.shape[-2:]
        even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        logits = self._look(F.avg_pool2d(even, 2)).logits
        larger = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        return larger[..., :height, :width]

    def _look(self, images: Tensor, *, embedded: bool = False) -> Output:
        """One pass through both sub-networks."""
        height, width = images.shape[-2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        padded = images
        if bottom or right:
            padded = F.pad(images, (0, right, 0, bottom), mode="replicate")
        # Both sub-networks work on packed pixels, so that nothing is unpacked between them.
        packed = pack(padded, self.stem)
        restored, jnd, encoded = self.reconstruction(packed)
        logits, decoded = self.localization(self.neck(packed, restored, jnd))
        embedding = None
        if embedded:
            embedding = self._embedding(encoded[self.embedded], decoded, height, width)
        return Output(
            unpack(restored, self.stem)[..., :height, :width],
            None if jnd is None else unpack(jnd, self.stem)[..., :height, :width],
            unpack(logits, self.stem)[..., :height, :width],
            embedding,
        )

    def _embedding(self, encoded: Tensor, decoded: Tensor, height: int, width: int) -> Tensor:
        """Features of both sub-networks, each the mean of 3x3 cells: (B, E, h, w).

        The reconstruction's encoder says how a part looks, the localization's last features what
        the network holds against it.
        """
        step = 2**self.embedded
        cells = torch.cat((F.avg_pool2d(decoded, step), encoded), 1)
        smooth = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
        edge = step * self.stem
        return smooth[..., : -(-height // edge), : -(-width // edge)].float()


class NetworkPart(Protocol):
    """What a network of the user's own must offer: usually it is the network's class."""

    def __call__(self, settings: ModelSettings) -> nn.Module:
        """A module from images (B, 3, H, W) in [0, 1], H and W multiples of 32, to `Output`."""


def build_model(settings: ModelSettings) -> nn.Module:
    """The network of the given settings, freshly initialised from PyTorch's global generator.

    Pretrained features get their weights after the training (`efficientnet.pretrained_network`).

    Raises:
        UserError: One of the user's own cannot be imported, or is not what `NetworkPart` says.
    """
    path = settings.network
    if not is_own(path):
        return InspectionNetwork(settings)
    network: nn.Module = call_own(path, settings=settings)
    images = torch.zeros(2, 3, 64, 96)
    found = try_part(path, network, images)
    if not images.is_meta:
        _check_output(path, found, images)
    return network


def create_model(system: str = DEFAULT_SYSTEM, size: str = DEFAULT_SIZE) -> nn.Module:
    """The network of a system at a size, freshly initialised from PyTorch's global generator.

    It takes images (B, 3, H, W) in [0, 1] and gives an `Output`. `load_settings` and `build_model`
    take every other setting.

    Raises:
        UserError: There is no such system or size.

    Example:
        >>> import omnial
        >>> network = omnial.create_model("draem", "tiny")
    """
    return build_model(load_settings(system=system, size=size).model)


def _check_output(path: str, found: object, images: Tensor) -> None:
    """Refuse what is no `Output` for these images."""
    if not isinstance(found, Output):
        raise UserError(
            f"{path}: its network must give an omnial.models.system.Output, not a "
            f"{type(found).__name__}"
        )
    batch, _, *size = images.shape
    for name, channels in (("reconstruction", 3), ("jnd", 1), ("logits", 2)):
        tensor, wanted = getattr(found, name), (batch, channels, *size)
        if tuple(getattr(tensor, "shape", ())) != wanted and not (name == "jnd" and tensor is None):
            raise UserError(
                f"{path}: its {name} must be {wanted} for images {tuple(images.shape)}, not "
                f"{tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__}"
            )


def _draw_normal(module: nn.Module) -> None:
    """DRAEM's start; biases of convolutions keep PyTorch's."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, _INITIAL_STD)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, _INITIAL_STD)
        nn.init.zeros_(module.bias)
