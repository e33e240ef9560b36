"""Pictures as a caller gives them: files, Pillow images, arrays, tensors, OpenCV's frames."""

import sys
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.files import StrPath


class Tensor(Protocol):
    """A PyTorch tensor, as far as it matters here: the types hold where there is no PyTorch."""

    def detach(self) -> "Tensor":
        """Without its gradient."""

    def cpu(self) -> "Tensor":
        """In the processor's memory."""

    def float(self) -> "Tensor":
        """In float32."""

    def is_floating_point(self) -> bool:
        """Whether it holds floats."""

    def numpy(self) -> NDArray[Any]:
        """As an array, of the same memory."""


Picture: TypeAlias = StrPath | NDArray[Any] | Image.Image | Tensor
"""A file, a Pillow image, or pixels: an array (H, W), (H, W, 3) in RGB or (H, W, 4) in RGBA, of
uint8, uint16 or floats in [0, 1], or a PyTorch tensor of the same, its channels first."""


def is_tensor(source: object) -> TypeGuard[Tensor]:
    """Whether it is a PyTorch tensor; without PyTorch, nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def as_array(pixels: NDArray[Any] | Tensor) -> NDArray[Any]:
    """A tensor's channels come last in its array; an array stays as it is."""
    if isinstance(pixels, np.ndarray):
        return pixels
    pixels = pixels.detach().cpu()
    # NumPy has no bfloat16.
    values: NDArray[Any] = (pixels.float() if pixels.is_floating_point() else pixels).numpy()
    return np.moveaxis(values, 0, -1) if values.ndim == 3 else values


def from_bgr(picture: Picture) -> Picture:
    """The same with red first, where it is an array or a tensor of colours."""
    if not isinstance(picture, np.ndarray) and not is_tensor(picture):
        return picture
    array = as_array(picture)
    if array.ndim == 3 and array.shape[2] == 3:
        return array[..., ::-1]  # no copy: a list of frames may be long
    return array[..., [2, 1, 0, 3]] if array.ndim == 3 and array.shape[2] == 4 else array
