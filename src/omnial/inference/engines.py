"""The engines of exported networks, ONNX Runtime and OpenVINO, with the same results as PyTorch."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.models.prediction import Prediction

Ports: TypeAlias = Mapping[str, tuple[int | None, ...]]
"""Shapes of an exported network's inputs and outputs, by name; None is any length."""

PORTS: Final = ("images", "valid", "score_map", "score", "features", "reconstruction")
"""Names of an exported network's inputs and outputs; the last is not always there."""

_REPORTER = "openvino_telemetry"
_SWITCH = "ORT_DISABLE_TELEMETRY"
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@contextmanager
def needs_package(package: str, extra: str) -> Iterator[None]:
    """Around the import of an engine: its telemetry is off, and a failure becomes advice."""
    try:
        with telemetry_off():
            yield
    except ImportError as error:
        raise UserError(
            f"{package} is not installed, or cannot be loaded ({error}). Install it: "
            f"pip install '{extra}'."
        ) from error


@contextmanager
def telemetry_off() -> Iterator[None]:
    """Keep the engines that are imported inside from reporting their use over the network.

    OpenVINO and NNCF report through `openvino-telemetry`; they go without it as if it were not
    installed, from now on in this process, since it has no other switch. A program that has
    imported it before has decided for itself. ONNX Runtime has a switch in the environment, which
    is afterwards what it was.
    """
    modules: dict[str, Any] = sys.modules
    # None is Python's own mark of a module that cannot be imported.
    modules.setdefault(_REPORTER, None)
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "1"  # read when the library is loaded
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before


class OnnxBackend:
    """A session of ONNX Runtime, which any number of threads may use.

    Args:
        path: The exported network.
        device: `cpu`, `cuda` or `cuda:N`; `auto` is a GPU that the installed package can use,
            else the CPU.
        threads: Threads of one call; None is one for each core.
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
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
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
