"""From a folder to an engine and what it needs to know, for each kind of folder."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import Settings
from omnial.errors import UserError
from omnial.inference.backends.base import Ports, needs_package
from omnial.inference.backends.onnx import OnnxBackend
from omnial.inference.backends.openvino import OpenVinoBackend
from omnial.model_folder.config_file import refusal
from omnial.model_folder.export_folder import Export, is_export, read_export
from omnial.models.prediction import Backend
from omnial.models.recogniser import Recogniser
from omnial.models.thresholds import Calibration
from omnial.untrusted import quoted

if TYPE_CHECKING:
    from omnial.models.trained_model import TrainedModel

BackendName: TypeAlias = Literal["auto", "torch", "onnx", "openvino"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """An engine with a network, and everything else that inspection needs."""

    backend: Backend
    settings: Settings
    classes: tuple[str, ...]
    calibration: Calibration
    recogniser: Recogniser
    rois: Mapping[str, NDArray[np.bool_]]
    training: Mapping[str, Any]


def open_folder(folder: Path, backend: BackendName, device: str, threads: int | None) -> Opened:
    """Open a model folder with PyTorch, or an export folder with the engine it was made for.

    Raises:
        UserError: The folder is not usable, the engine does not fit it or is not installed, or
            the device does not exist.
    """
    if is_export(folder):
        return _open_export(folder, backend, device, threads)
    if backend not in ("auto", "torch"):
        raise UserError(
            f"{folder} is not an export folder, and {backend} runs exported networks alone. "
            f"Make one: omnial export {folder} --format {backend} --out EXPORT_DIR."
        )
    with needs_package("PyTorch, which a model folder needs,", "torch"):
        from omnial.model_folder.weights_file import load_model
    return open_model(load_model(folder, device))


def open_model(model: "TrainedModel") -> Opened:
    """A model in memory, on PyTorch.

    Raises:
        TypeError: It is none.
    """
    from omnial.models.torch_backend import TorchBackend
    from omnial.models.trained_model import TrainedModel

    if not isinstance(model, TrainedModel):
        raise TypeError(f"model is what load_model returns, not {type(model).__name__}")

    return Opened(
        backend=TorchBackend(model),
        settings=model.settings,
        classes=model.classes,
        calibration=model.calibration,
        recogniser=model.recogniser,
        rois=model.rois,
        training=model.training,
    )


def _open_export(folder: Path, backend: BackendName, device: str, threads: int | None) -> Opened:
    export = read_export(folder)
    if not export.record.gate.passed:
        _logger.warning(
            "%s did not pass its accuracy gate: %s", folder, "; ".join(export.record.gate.reasons)
        )
    return Opened(
        backend=open_engine(export, backend, device, threads),
        settings=export.config.settings,
        classes=export.config.classes,
        calibration=export.config.calibration,
        recogniser=export.recogniser,
        rois=export.rois,
        training=export.config.training,
    )


def open_engine(
    export: Export, backend: BackendName = "auto", device: str = "auto", threads: int | None = None
) -> Backend:
    """The engine for an exported network; OpenVINO also reads what was exported to ONNX.

    Raises:
        UserError: The engine cannot run that format or is not installed, or the device does not
            exist.
    """
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
        "features": (None, export.recogniser.scale.size),
    }
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
