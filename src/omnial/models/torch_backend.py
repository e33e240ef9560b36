"""PyTorch as an engine: the reference that the others are measured against."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omnial.config.settings import ImageScore, Settings
from omnial.models.prediction import Prediction, over_windows
from omnial.models.scoring import image_score, score_map
from omnial.models.trained_model import TrainedModel


class TorchBackend:
    """A trained model, in float32, on the device that it was loaded to.

    The number of threads is PyTorch's own, which holds for the whole process.
    """

    name = "torch"

    def __init__(self, model: TrainedModel) -> None:
        self.network = model.network
        self._rule = model.settings.model.image_score

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Predict a batch; see `Backend.run`."""
        return predict_batch(self.network, images, valid, self._rule)

    def facts(self) -> dict[str, str]:
        """Version and device."""
        return {"torch": torch.__version__, "device": str(self.device), "precision": "f32"}


def predict_batch(
    network: nn.Module,
    images: Tensor | NDArray[Any],
    valid: Tensor | NDArray[np.bool_] | None = None,
    rule: ImageScore = "top_mean",
    bf16: bool = False,
) -> Prediction:
    """Predict a batch in float32, without gradients, on the device of the network.

    The network is left in eval mode. Images are (B, 3, H, W) floating, in [0, 1], on any device;
    `valid` is (B, H, W) bool, True where scores count, None everywhere. With `bf16` convolutions
    have that precision, two to three decimal digits, which a training does with.

    Raises:
        ValueError: The images are not (B, 3, H, W), or `valid` has another size.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, bf16):
        batch = torch.as_tensor(images).to(device, torch.float32)
        output = network(batch)
        maps = score_map(output.logits.float())
        if valid is not None:
            valid = torch.as_tensor(valid).to(device)
            if valid.shape != maps.shape:
                raise ValueError(f"valid is {tuple(valid.shape)}, the maps are {maps.shape}")
            maps = torch.where(valid, maps, 0.0)
        return Prediction(
            score_maps=_array(maps),
            scores=_array(image_score(maps, valid, rule)).astype(np.float64),
            reconstruction=_array(output.reconstruction.clamp(0.0, 1.0)),
            embedding=None if output.embedding is None else _array(output.embedding),
            jnd=None if output.jnd is None else _array(output.jnd[:, 0]),
        )


def predict_frames(
    network: nn.Module,
    images: Tensor,
    valid: NDArray[np.bool_],
    settings: Settings,
    bf16: bool = False,
) -> Prediction:
    """Predict frames of one size, larger ones in windows; arguments as those of `predict_batch`."""
    run = partial(predict_batch, network, rule=settings.model.image_score, bf16=bf16)
    return over_windows(run, images.numpy(), valid, settings)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().contiguous().cpu().numpy()
    return array
