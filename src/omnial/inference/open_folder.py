"""From a folder to an engine and what it needs to know, for each kind of folder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.inference.engines import OnnxBackend, OpenVinoBackend, Ports, needs_package
from omnial.model_folder.config_file import FolderConfig, refusal
from omnial.model_folder.export_folder import Export, is_export, read_export
from omnial.models.prediction import Backend
from omnial.models.recogniser import Recogniser
from omnial.untrusted import quoted

if TYPE_CHECKING:
    from omnial.models.trained_model import TrainedModel

BackendName: TypeAlias = Literal["auto", "torch", "onnx", "openvino"]

_logger = logging.getLogger(__name__)


class Opened(NamedTuple):
    """An engine with a network, and everything else that inspection needs."""

    backend: Backend
    config: "TrainedModel | FolderConfig"
    recogniser: Recogniser
    rois: Mapping[str, NDArray[np.bool_]]


def open_folder(folder: Path, backend: BackendName, device: str, threads: int | None) -> Opened:
    """Open a model folder with PyTorch, or an export folder with the engine it was made for."""
    if is_export(folder):
        export = read_export(folder)
        if not export.record.gate.passed:
            reasons = "; ".join(export.record.gate.reasons)
            _logger.warning("%s did not pass its accuracy gate: %s", folder, reasons)
        engine = open_engine(export, backend, device, threads)
        return Opened(engine, export.config, export.recogniser, export.rois)
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
    return Opened(TorchBackend(model), model, model.recogniser, model.rois)


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
