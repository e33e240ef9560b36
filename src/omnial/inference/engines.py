"""From a folder to an engine: PyTorch, or ONNX Runtime or OpenVINO with the same results."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.model_folder.config_file import FolderConfig, refusal
from omnial.model_folder.export_folder import Export, is_export, read_export
from omnial.models.normality import Normality, embedding_shape
from omnial.models.prediction import Backend, Prediction
from omnial.models.recogniser import Recogniser
from omnial.untrusted import quoted

if TYPE_CHECKING:
    from omnial.models.trained_model import TrainedModel

BackendName: TypeAlias = Literal["auto", "torch", "onnx", "openvino"]
Ports: TypeAlias = Mapping[str, tuple[int | None, ...]]
"""Shapes of an exported network's inputs and outputs, by name; None is any length."""

PORTS: Final = ("images", "valid", "score_map", "score", "embedding", "reconstruction")
"""Names of an exported network's inputs and outputs; the last two are not always there."""

_logger = logging.getLogger(__name__)
_REPORTER = "openvino_telemetry"
_SWITCH = "ORT_DISABLE_TELEMETRY"
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@contextmanager
def needs_package(package: str, extra: str) -> Iterator[None]:
    """Around the import of an engine: its telemetry is off, and a failure becomes advice.

    OpenVINO and NNCF report through `openvino-telemetry`, and from now on go without it, as if it
    were not installed, unless the program has imported it before. ONNX Runtime has a switch in the
    environment, which is afterwards what it was.
    """
    modules: dict[str, Any] = sys.modules
    # None is Python's own mark of a module that cannot be imported.
    modules.setdefault(_REPORTER, None)
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "1"  # read when the library is loaded
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{package} is not installed, or cannot be loaded ({error}). Install it: "
            f"pip install '{extra}'{' in a clone of omnial' if extra[0] == '.' else ''}."
        ) from error
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before


class OnnxBackend:
    """A session of ONNX Runtime, which any number of threads may use.

    `device` is `cpu`, `cuda` or `cuda:N`; `auto` is a GPU that the installed package can use, else
    the CPU. `threads` are those of one call; None is one for each core.
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
        shapes = {}
        for port in (*self._session.get_inputs(), *self._session.get_outputs()):
            shapes[port.name] = tuple(n if isinstance(n, int) else None for n in port.shape)
        return shapes

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        """Predict a batch; see `Backend.run`."""
        values = self._session.run(self._outputs, {"images": images, "valid": valid})
        return _prediction(dict(zip(self._outputs, values, strict=True)))

    def facts(self) -> dict[str, str]:
        """Version and device."""
        return {"onnxruntime": self._version, "device": self._session.get_providers()[0]}


def _prediction(outputs: dict[str, NDArray[Any]]) -> Prediction:
    scores = outputs["score"].astype(np.float64)
    extra = {name: outputs.get(name) for name in ("reconstruction", "embedding")}
    return Prediction(outputs["score_map"], scores, **extra)


def _providers(device: str, available: list[str]) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
    wanted = _PROVIDERS.get(kind)
    if wanted not in available or not (number.isdigit() or number == ""):
        raise _no_device(device, "ONNX Runtime", available)
    chosen: Any = (wanted, {"device_id": int(number)}) if number else wanted
    return [chosen] if kind == "cpu" else [chosen, _PROVIDERS["cpu"]]


class OpenVinoBackend:
    """A compiled network, with an inference request for each call that runs at the same time.

    `path` is an `.xml` or `.onnx` file. `device` is `cpu`, or `gpu` or `gpu:N` for Intel's; `auto`
    is the CPU. `threads` are those of one call; None is OpenVINO's choice. `hint` is the precision
    of what is not quantized, `f32`, `bf16` or `f16`, always passed on, since OpenVINO's own default
    is bf16 where the processor has it; `facts` says what the device does.
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
        shapes = {}
        for port in (*self._compiled.inputs, *self._compiled.outputs):
            edges = port.get_partial_shape()
            shapes[_name(port)] = tuple(n.get_length() if n.is_static else None for n in edges)
        return shapes

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
        return _prediction(outputs)

    def facts(self) -> dict[str, str]:
        """Version, device and the precision in use."""
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return {"openvino": self._version, "device": self._device, "precision": precision}


def _name(port: Any) -> str:
    """The name that the export gave a port; the compiler may add those of steps it has removed."""
    names: set[str] = port.get_names()
    return next((name for name in PORTS if name in names), str(port.get_any_name()))


def _device(name: str, available: list[str]) -> str:
    kind, _, number = name.upper().partition(":")
    device = "CPU" if kind == "AUTO" else f"{kind}.{number}" if number else kind
    if device not in available and f"{device}.0" not in available:
        raise _no_device(name, "OpenVINO", available)
    return device


def _no_device(name: str, engine: str, available: list[str]) -> UserError:
    has = ", ".join(available)
    return UserError(f"Device {name!r} cannot be used: {engine} here has {has}. Try 'cpu'.")


class Opened(NamedTuple):
    """An engine with a network, and everything else that inspection needs."""

    backend: Backend
    config: "TrainedModel | FolderConfig"
    recogniser: Recogniser
    rois: Mapping[str, NDArray[np.bool_]]
    normality: Mapping[str, Normality]


def open_folder(folder: Path, backend: BackendName, device: str, threads: int | None) -> Opened:
    """Open a model folder with PyTorch, or an export folder with the engine it was made for."""
    if is_export(folder):
        export = read_export(folder)
        if not export.record.gate.passed:
            reasons = "; ".join(export.record.gate.reasons)
            _logger.warning("%s did not pass its accuracy gate: %s", folder, reasons)
        engine = open_engine(export, backend, device, threads)
        return Opened(engine, export.config, export.recogniser, export.rois, export.normality)
    if backend not in ("auto", "torch"):
        raise UserError(
            f"{folder} is not an export folder, and {backend} runs exported networks alone. "
            f"Make one: omnial export {folder} --format {backend} --out EXPORT_DIR."
        )
    with needs_package("PyTorch, which a model folder needs,", "torch"):
        from omnial.model_folder.weights_file import load_model
    return open_model(load_model(folder, device))


def open_model(model: "TrainedModel") -> Opened:
    """A model in memory, on PyTorch."""
    from omnial.models.torch_backend import TorchBackend
    from omnial.models.trained_model import TrainedModel

    if not isinstance(model, TrainedModel):
        raise TypeError(f"model is what load_model returns, not {type(model).__name__}")
    return Opened(TorchBackend(model), model, model.recogniser, model.rois, model.normality)


def open_engine(
    export: Export, backend: BackendName = "auto", device: str = "auto", threads: int | None = None
) -> Backend:
    """The engine for an exported network; OpenVINO also reads what was exported to ONNX."""
    name = export.record.format if backend == "auto" else backend
    engine: OnnxBackend | OpenVinoBackend
    if name == "openvino":
        engine = OpenVinoBackend(export.model_path, device, threads, export.record.hint)
    elif name == "onnx" and export.record.format == "onnx":
        engine = OnnxBackend(export.model_path, device, threads)
    else:
        raise UserError(
            f"{export.folder} was exported to {export.record.format}, which {name} cannot run. "
            "Name the model folder, or export again."
        )
    _check_ports(export, engine.ports())
    return engine


def _check_ports(export: Export, found: Ports) -> None:
    """Refuse a network that takes or gives something else than the settings say."""
    data = export.config.settings.data
    size = (data.height, data.width)
    expected: dict[str, tuple[int | None, ...]] = {
        "images": (None, 3, *size),
        "valid": (None, *size),
        "score_map": (None, *size),
        "score": (None,),
    }
    if export.normality:
        expected["embedding"] = (None, *embedding_shape(export.config.settings))
    if "reconstruction" in found:
        expected["reconstruction"] = (None, 3, *size)
    for name in sorted({*expected, *found}):
        if found.get(name) != expected.get(name):
            shown = "no" if name not in found else f"a port of shape {found[name]} for"
            raise refusal(
                export.folder,
                f"{export.model_path.name} has {shown} {quoted(name)}, the settings ask for "
                f"{expected.get(name, 'none')}",
            )
