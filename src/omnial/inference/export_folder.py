"""The folder that `omnial export` writes, read without PyTorch.

    config.json          the model folder's own: settings, classes, calibration, training
    export.json          format, precision, gate, versions, and a digest of each file below
    model.onnx           the network (or model.xml and model.bin for OpenVINO)
    arrays.safetensors   the recogniser and the regions of interest
    samples.safetensors  inputs with PyTorch's outputs for them, which `omnial verify` repeats

A folder may come from anywhere: file names are fixed, both JSON files are checked, and every
other file must have the digest that `export.json` names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from omnial.calibration.recogniser import Recogniser
from omnial.files import file_digest
from omnial.models.config_file import FolderConfig, read_config, refusal, under

EXPORT_FILE = "export.json"
ARRAYS_FILE = "arrays.safetensors"
SAMPLES_FILE = "samples.safetensors"

Format: TypeAlias = Literal["onnx", "openvino"]
Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
Hint: TypeAlias = Literal["f32", "bf16", "f16"]

MODEL_FILES: Final[Mapping[Format, tuple[str, ...]]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
}
"""The network's files; the first is the one that is opened."""

_RECOGNISER, _ROI = "recogniser.", "roi."
_LARGEST_RECORD = 2**24
_Figure = Annotated[float, Field(ge=0.0)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Differences(_Record):
    """How far an exported network is from PyTorch's float32."""

    images: Annotated[int, Field(ge=1)]
    map_largest: _Figure
    """Largest difference of two score maps in one pixel."""
    map_mean: _Figure
    """Mean absolute difference of the score maps."""
    score_largest: _Figure
    """Largest difference of two image scores."""


class Tolerance(_Record):
    """What an export may differ by; None where a figure does not count."""

    map_largest: _Figure | None
    map_mean: _Figure
    score_largest: _Figure
    pixel_ap_loss: _Figure


class Gate(_Record):
    """The verdict on an export, and what it rests on."""

    passed: bool
    images: Literal["synthetic", "data"]
    """Whether the images were made up, or came from a data set."""
    differences: Differences
    verdicts_changed: Annotated[float, Field(ge=0.0, le=1.0)]
    """Share of the images that are good for one and anomalous for the other."""
    pixel_ap_reference: float | None
    """Pixel AP of PyTorch, mean over the classes; None without defects and masks."""
    pixel_ap: float | None
    tolerance: Tolerance
    reasons: tuple[str, ...]
    """What went beyond the tolerance; empty where the gate was passed."""


class Candidate(_Record):
    """One precision that `--precision auto` looked at."""

    precision: Precision
    milliseconds: _Figure
    """Median time of one image."""
    passed: bool
    reasons: tuple[str, ...]


class ExportRecord(_Record):
    """The content of `export.json`."""

    export_version: Literal[1]
    format: Format
    precision: Precision
    hint: Hint
    """Precision that the engine is asked for in what is not quantized."""
    executed: dict[str, str]
    """Engine, device and precision that the gate was measured with."""
    gate: Gate
    samples: Differences
    """Differences on the stored samples when the folder was written."""
    samples_tolerance: Tolerance
    """What `omnial verify` allows on them."""
    candidates: tuple[Candidate, ...]
    versions: dict[str, str]
    created: str
    files: dict[str, str]
    """SHA-256 of every file but this one and `config.json`, which `omnial calibrate` changes."""


@dataclass(frozen=True)
class Export:
    """An export folder, checked."""

    folder: Path
    record: ExportRecord
    config: FolderConfig
    recogniser: Recogniser
    rois: Mapping[str, NDArray[np.bool_]]

    @property
    def model_path(self) -> Path:
        """The file that an engine opens."""
        return self.folder / MODEL_FILES[self.record.format][0]


def is_export(folder: Path) -> bool:
    """Whether a folder says that `omnial export` wrote it."""
    return (folder / EXPORT_FILE).is_file()


def read_export(folder: Path) -> Export:
    """Read and check an export folder.

    Raises:
        UserError: A file is missing, damaged, or not the one that was exported.
    """
    record = _read_record(folder)
    config = read_config(folder)
    names = (*MODEL_FILES[record.format], ARRAYS_FILE, SAMPLES_FILE)
    if set(record.files) != set(names):
        # Nothing but these names is ever opened or copied.
        raise refusal(folder, f"{EXPORT_FILE} has digests of other files than {', '.join(names)}")
    for name, digest in record.files.items():
        _check_digest(folder, name, digest)
    try:
        arrays = load_file(folder / ARRAYS_FILE)
        recogniser = Recogniser.from_arrays(under(_RECOGNISER, arrays), config.classes)
        rois = under(_ROI, arrays)
    except (OSError, SafetensorError, ValueError) as error:
        raise refusal(folder, f"{ARRAYS_FILE}: {error}") from error
    size = (config.settings.data.height, config.settings.data.width)
    for name, region in rois.items():
        if name not in config.classes or region.shape != size or region.dtype != np.bool_:
            raise refusal(folder, f"{ARRAYS_FILE}: the region of interest of {name!r} is wrong")
    return Export(folder, record, config, recogniser, rois)


def write_arrays(path: Path, recogniser: Recogniser, rois: Mapping[str, NDArray[np.bool_]]) -> None:
    """Write what `read_export` needs beside the network.

    Raises:
        OSError: The file cannot be written.
    """
    arrays = {_RECOGNISER + name: value for name, value in recogniser.arrays().items()}
    regions = {_ROI + name: np.ascontiguousarray(value) for name, value in rois.items()}
    save_file({**arrays, **regions}, path)


def _read_record(folder: Path) -> ExportRecord:
    path = folder / EXPORT_FILE
    try:
        if path.stat().st_size > _LARGEST_RECORD:
            raise refusal(folder, f"{EXPORT_FILE} is larger than {_LARGEST_RECORD} bytes")
        return ExportRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise refusal(folder, f"{EXPORT_FILE} cannot be read: {error}") from error
    except ValidationError as error:
        raise refusal(folder, f"{EXPORT_FILE}: {error}") from error


def _check_digest(folder: Path, name: str, digest: str) -> None:
    try:
        found = file_digest(folder / name)
    except OSError as error:
        raise refusal(folder, f"{name} cannot be read: {error}") from error
    if found != digest:
        raise refusal(folder, f"{name} is not the file that was exported (another digest)")
