"""The folder that `omnial export` writes, read without PyTorch.

    config.json          the model folder's own: settings, classes, calibration, training
    export.json          format, precision, gate, versions, and a digest of each file below
    model.onnx           the network (or model.xml and model.bin for OpenVINO)
    normality.onnx       normality as a graph, beside model.onnx, for programs without Python
    arrays.safetensors   the recogniser, normality and the regions of interest
    samples.safetensors  inputs with PyTorch's outputs for them, which `omnial verify` repeats

A folder may come from anywhere: file names are fixed, both JSON files are checked, every other
file must be what the settings ask for and have the digest that `export.json` names. In which
order, and what that does not cover, stands in docs/model-folders.md.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file

from omnial.config.settings import Section, Settings
from omnial.errors import UserError
from omnial.files import file_digest, unused
from omnial.model_folder.config_file import (
    CONFIG_FILE,
    FolderConfig,
    extra_forms,
    read_config,
    read_extra,
    refusal,
    refusing,
)
from omnial.models.normality import Normality
from omnial.models.recogniser import Recogniser
from omnial.untrusted import check_forms, check_regular, read_forms, read_json

EXPORT_FILE = "export.json"
ARRAYS_FILE = "arrays.safetensors"
SAMPLES_FILE = "samples.safetensors"
EXPORT_VERSION: Final = 4
"""Of `export.json`: exactly this one is read."""

Format: TypeAlias = Literal["onnx", "openvino"]
Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]
Hint: TypeAlias = Literal["f32", "bf16", "f16"]

MODEL_FILES: Final[Mapping[Format, tuple[str, ...]]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
}
"""The network's files; the first is the one that is opened."""
NORMALITY_FILE = "normality.onnx"
"""Beside `model.onnx` where the model has normality; Python does not open it."""

_LARGEST_RECORD = 2**18
_LARGEST: Final[Mapping[str, int]] = {
    "model.onnx": 2**31,
    NORMALITY_FILE: 2**30,
    "model.bin": 2**33,
    # Text with a paragraph for each operation; the parser takes a multiple of it in memory.
    "model.xml": 2**26,
    ARRAYS_FILE: 2**30,
    SAMPLES_FILE: 2**32,
}
_MOST_TENSORS = 2**13
_Figure = Annotated[float, Field(ge=0.0)]


class Differences(Section):
    """How far an exported network is from PyTorch's float32."""

    images: Annotated[int, Field(ge=1)]
    map_largest: _Figure
    """Largest difference of two score maps in one pixel."""
    map_mean: _Figure
    """Mean absolute difference of the score maps."""
    score_largest: _Figure
    """Largest difference of two image scores."""


class Tolerance(Section):
    """What an export may differ by; None where a figure does not count."""

    map_largest: _Figure | None
    map_mean: _Figure
    score_largest: _Figure
    pixel_ap_loss: _Figure
    verdicts_changed: _Figure
    """Share of the images."""


class Gate(Section):
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


class Candidate(Section):
    """One precision that `--precision auto` looked at."""

    precision: Precision
    milliseconds: _Figure
    """Median time of one image."""
    passed: bool
    reasons: tuple[str, ...]


class ExportRecord(Section):
    """The content of `export.json`."""

    export_version: Literal[4]
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
    normality: Mapping[str, Normality]

    @property
    def model_path(self) -> Path:
        """The file that an engine opens."""
        return self.folder / MODEL_FILES[self.record.format][0]


def is_export(folder: Path) -> bool:
    """Whether a folder says that `omnial export` wrote it."""
    # Whatever bears the name: reading it refuses what is no plain file.
    return os.path.lexists(folder / EXPORT_FILE)


def exported_files(format_: Format, settings: Settings) -> tuple[str, ...]:
    """Names of the files that the record has digests of."""
    names = (*MODEL_FILES[format_], ARRAYS_FILE, SAMPLES_FILE)
    with_graph = format_ == "onnx" and settings.model.normality != "none"
    return (*names, NORMALITY_FILE) if with_graph else names


def check_free_for_export(out: Path) -> None:
    """Refuse a folder for an export that holds anything but one, with a `UserError`."""
    if not (unused(out, EXPORT_FILE) or is_export(out)):
        raise UserError(f"{out} is not empty and is no export folder. Choose another --out.")


def read_export(folder: Path) -> Export:
    """Read an export; a `UserError` if a file is missing, damaged, or not the exported one."""
    if not is_export(folder) and (folder / CONFIG_FILE).exists():
        raise UserError(
            f"{folder} is a model folder, not an export. Make one of it with `omnial export "
            f"{folder} --format openvino`, and name that."
        )
    with refusing(folder, EXPORT_FILE):
        content = read_json(folder / EXPORT_FILE, _LARGEST_RECORD)
        version = content.get("export_version") if isinstance(content, dict) else None
        if type(version) is int and version != EXPORT_VERSION:
            raise ValueError(
                f"it was made by another version of omnial (its version is {version}, this one "
                f"reads {EXPORT_VERSION}); read it with that version"
            )
        record = ExportRecord.model_validate(content)
    config = read_config(folder)
    names = exported_files(record.format, config.settings)
    if set(record.files) != set(names):
        # Nothing but these names is ever opened or copied.
        raise refusal(folder, f"{EXPORT_FILE} has digests of other files than {', '.join(names)}")
    # Engines may follow a link that the network names, also one of another name.
    for path in folder.iterdir():
        if path.is_symlink():
            raise refusal(folder, f"{path.name}: it is a symbolic link")
    for name in names:
        with refusing(folder, name):
            check_regular(folder / name, _LARGEST[name])
    with refusing(folder, ARRAYS_FILE):
        found = read_forms(folder / ARRAYS_FILE, _MOST_TENSORS)
        check_forms(found, extra_forms(config.settings, config.classes, found))
    for name, digest in record.files.items():
        with refusing(folder, name):
            if file_digest(folder / name) != digest:
                raise ValueError("it is not the file that was exported (another digest)")
    with refusing(folder, ARRAYS_FILE):
        extra = read_extra(load_file(folder / ARRAYS_FILE), config.classes)
    return Export(folder, record, config, *extra)
