"""One batch through a network: score maps, scores, reconstructions and features in NumPy."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omnial.config.settings import ImageScore, Settings
from omnial.models.scoring import image_score, score_map
from omnial.models.trained_model import TrainedModel
from omnial.models.windows import over_windows


class Inspection(NamedTuple):
    """What a network says about a batch, on the host."""

    score_maps: NDArray[np.float32]
    """(B, H, W) in [0, 1]; 0 outside the valid region."""
    scores: NDArray[np.float64]
    """(B,) in [0, 1]."""
    reconstruction: NDArray[np.float32]
    """(B, 3, H, W) clipped to [0, 1]."""
    jnd: NDArray[np.float32] | None
    """(B, H, W), the reconstructed JND target; None where the network has none."""
    features: NDArray[np.float32]
    """(B, F)."""


def inspect_batch(model: TrainedModel, images: Tensor, valid: Tensor | None = None) -> Inspection:
    """Inspect a batch with a trained model; see `inspect_frames`."""
    return inspect_frames(model.network, model.settings, images, valid)


def inspect_frames(
    network: nn.Module, settings: Settings, images: Tensor, valid: Tensor | None = None
) -> Inspection:
    """Inspect a batch of frames of one size, larger ones in windows; see `inspect_images`.

    Args:
        network: From `build_model`.
        settings: The run's: the network input, and the rule from score map to score.
        images: (B, 3, H, W) floating, in [0, 1], on any device.
        valid: (B, H, W) bool, True where scores count; None is everywhere.

    Raises:
        ValueError: See `inspect_images`.
    """
    rule = settings.model.image_score
    if images.shape[-2:] == (settings.data.height, settings.data.width):
        return inspect_images(network, images, valid, rule)

    def run(part: NDArray[np.float32], inside: NDArray[np.bool_]) -> Inspection:
        return inspect_images(network, torch.from_numpy(part), torch.from_numpy(inside), rule)

    if valid is None:
        valid = torch.ones(len(images), *images.shape[-2:], dtype=torch.bool)
    return over_windows(run, _host(images), valid.cpu().numpy(), settings)


def inspect_images(
    network: nn.Module,
    images: Tensor,
    valid: Tensor | None = None,
    rule: ImageScore = "top_mean",
) -> Inspection:
    """Inspect a batch in float32, without gradients, on the device of the network.

    The network is left in eval mode.

    Args:
        network: From `build_model`.
        images: (B, 3, H, W) floating, in [0, 1], on any device.
        valid: (B, H, W) bool, True where scores count; None is everywhere.
        rule: From score map to score.

    Raises:
        ValueError: The images are not (B, 3, H, W), or `valid` has another size.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        batch = images.to(device, torch.float32)
        output = network(batch)
        maps = score_map(output.logits)
        if valid is not None:
            valid = valid.to(device)
            if valid.shape != maps.shape:
                raise ValueError(f"valid is {tuple(valid.shape)}, the maps are {maps.shape}")
            maps = torch.where(valid, maps, 0.0)
        return Inspection(
            score_maps=_host(maps),
            scores=_host(image_score(maps, valid, rule)).astype(np.float64),
            reconstruction=_host(output.reconstruction.clamp(0.0, 1.0)),
            jnd=None if output.jnd is None else _host(output.jnd[:, 0]),
            features=_host(output.features),
        )


def _host(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().contiguous().cpu().numpy()
    return array
