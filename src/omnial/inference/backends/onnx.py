"""ONNX Runtime as an engine."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.inference.backends.base import Ports, needs_package
from omnial.models.prediction import Prediction

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackend:
    """A session of ONNX Runtime, which any number of threads may use.

    Args:
        path: The exported network.
        device: `cpu`, `cuda` or `cuda:N`; `auto` is a GPU that the installed package can use,
            else the CPU.
        threads: Threads of one call; None is one for each core.

    Raises:
        UserError: The package is missing, the device does not exist, or the file is damaged.
    """

    name = "onnx"

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None) -> None:
        with needs_package("ONNX Runtime", "onnxruntime"):
            import onnxruntime
        # Again by its own switch, for a program that had loaded it before.
        onnxruntime.disable_telemetry_events()
        self._version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=_providers(device, onnxruntime.get_available_providers())
            )
        except Exception as error:  # the library has no base class for its errors
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} cannot be loaded by ONNX Runtime: {reason}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def ports(self) -> Ports:
        """Shapes of inputs and outputs."""
        ports = (*self._session.get_inputs(), *self._session.get_outputs())
        return {
            port.name: tuple(edge if isinstance(edge, int) else None for edge in port.shape)
            for port in ports
        }

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Predict a batch; see `Backend.run`."""
        values = self._session.run(self._outputs, {"images": images, "valid": valid})
        return as_prediction(dict(zip(self._outputs, values, strict=True)))

    def facts(self) -> dict[str, str]:
        """Version and device."""
        return {"onnxruntime": self._version, "device": self._session.get_providers()[0]}


def as_prediction(outputs: dict[str, NDArray[Any]]) -> Prediction:
    """The prediction of an exported network, from its outputs by name."""
    return Prediction(
        score_maps=outputs["score_map"],
        scores=outputs["score"].astype(np.float64),
        features=outputs["features"],
        reconstruction=outputs.get("reconstruction"),
    )


def _providers(device: str, available: list[str]) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    wanted = _PROVIDERS.get(kind)
    if wanted is None or wanted not in available or not (number.isdigit() or number == ""):
        raise UserError(
            f"Device {device!r} cannot be used: ONNX Runtime here has "
            f"{', '.join(available)}. Try 'cpu'."
        )
    chosen: Any = (wanted, {"device_id": int(number)}) if number else wanted
    return [chosen] if kind == "cpu" else [chosen, _PROVIDERS["cpu"]]
