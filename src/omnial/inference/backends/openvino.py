"""OpenVINO as an engine."""

from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.inference.backends.base import PORTS, Ports, needs_package
from omnial.inference.backends.onnx import as_prediction
from omnial.models.prediction import Prediction


class OpenVinoBackend:
    """A compiled network, with an inference request for each call that runs at the same time.

    Args:
        path: The exported network, `.xml` or `.onnx`.
        device: `cpu`, or `gpu` or `gpu:N` for Intel's; `auto` is the CPU.
        threads: Threads of one call; None is OpenVINO's choice. Processes at the same time, each
            with a share of the cores, do not get in each other's way.
        hint: Precision of what is not quantized: `f32`, `bf16` or `f16`. Always passed on, since
            OpenVINO's own default is bf16 where the processor has it. What the device cannot do
            is done in another one; `facts` says which.

    Raises:
        UserError: The package is missing, the device does not exist, or the file is damaged.
    """

    name = "openvino"

    def __init__(
        self, path: Path, device: str = "auto", threads: int | None = None, hint: str = "f32"
    ) -> None:
        with needs_package("OpenVINO", "openvino"):
            import openvino
        self._version = openvino.__version__
        core = openvino.Core()
        self._device = _device(device, core.available_devices)
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None and self._device == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads
            # Else every process with fewer threads than cores holds on to the same first cores.
            options["ENABLE_CPU_PINNING"] = False
        try:
            self._compiled = core.compile_model(path, self._device, options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise UserError(f"{path} cannot be loaded by OpenVINO: {reason}") from error
        self._idle: LifoQueue[Any] = LifoQueue()

    def ports(self) -> Ports:
        """Shapes of inputs and outputs."""
        ports = (*self._compiled.inputs, *self._compiled.outputs)
        return {
            _name(port): tuple(
                edge.get_length() if edge.is_static else None for edge in port.get_partial_shape()
            )
            for port in ports
        }

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Predict a batch; see `Backend.run`."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        found = request.infer({"images": images, "valid": valid})
        # The request writes its next results where these lie.
        outputs = {_name(port): np.array(found[port]) for port in self._compiled.outputs}
        self._idle.put(request)
        return as_prediction(outputs)

    def facts(self) -> dict[str, str]:
        """Version, device and the precision in use."""
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return {"openvino": self._version, "device": self._device, "precision": precision}


def _name(port: Any) -> str:
    """The name that the export gave a port; the compiler may add those of steps it has removed."""
    names: set[str] = port.get_names()
    return next((name for name in PORTS if name in names), None) or str(port.get_any_name())


def _device(name: str, available: list[str]) -> str:
    kind, _, number = name.upper().partition(":")
    device = "CPU" if kind == "AUTO" else f"{kind}.{number}" if number else kind
    if device not in available and f"{device}.0" not in available:
        raise UserError(
            f"Device {name!r} cannot be used: OpenVINO here has {', '.join(available)}. Try 'cpu'."
        )
    return device
