"""Folders that a user may have downloaded: models, exports, adversarial sets.

The first byte of an input chooses a file; the rest is its content. The folder around it is valid,
and every digest is made to fit, as an attacker would do. Only a `UserError` may come out, and
what is accepted must be written and read again.
"""

import hashlib
import json
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.numpy import save_file

from omnial.attacks.pgd import LEVELS
from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.errors import UserError
from omnial.inference.verify import Samples, read_samples, write_samples
from omnial.model_folder.config_file import extra_arrays, read_config
from omnial.model_folder.export_folder import EXPORT_VERSION, read_export
from omnial.model_folder.weights_file import load_model, save_model
from omnial.models.prediction import Prediction
from omnial.models.recogniser import FEATURES, Recogniser
from omnial.models.system import build_model
from omnial.models.thresholds import calibrate
from omnial.models.trained_model import TrainedModel
from omnial.robustness.adversarial_set import (
    SCHEMA_VERSION,
    AdversarialSet,
    ClassEntry,
    Identity,
    Manifest,
    write_manifest,
)
from omnial.untrusted import parse_json

EDGE: Final = 32
_CONFIG, _WEIGHTS, _EXPORT = "config.json", "model.safetensors", "export.json"
# A graph of one node, Relu from a to b, and one weight w of a byte.
_ONNX: Final = (
    b"\x08\x0a\x3a\x1a\x0a\x0c\x0a\x01a\x12\x01b\x22\x04Relu"
    b"\x2a\x0a\x08\x01\x10\x02\x4a\x01\x07\x42\x01w"
)
_room = tempfile.TemporaryDirectory(prefix="omnial-fuzz-")


def target(data: bytes) -> None:
    """Read the folder with one file as given; raise where anything but a refusal comes out."""
    if not data:
        return
    name = tuple(_READERS)[data[0] % len(_READERS)]
    try:
        _READERS[name](data[1:])
    except UserError as error:
        str(error).encode()  # can be printed


def seeds() -> list[bytes]:
    """The valid file of each kind."""
    valid = {
        "configuration": (_MODEL / _CONFIG).read_bytes(),
        "header": _header_of(_MODEL / _WEIGHTS),
        "weights": (_MODEL / _WEIGHTS).read_bytes(),
        "record": (_EXPORTED / _EXPORT).read_bytes(),
        "arrays": _header_of(_EXPORTED / "arrays.safetensors"),
        "samples": _header_of(_EXPORTED / "samples.safetensors"),
        "manifest": (_SET / "manifest.json").read_bytes(),
        "class of a set": _header_of(_SET / "bolt.safetensors"),
    }
    return [bytes([place]) + valid[name] for place, name in enumerate(_READERS)]


def _configuration(content: bytes) -> None:
    _with(_MODEL / _CONFIG, content, _read_again)


def _weights(content: bytes) -> None:
    def read() -> None:
        _sign(_MODEL / _CONFIG, {"weights_sha256": _digest(content)})
        _opened(_MODEL)

    before = (_MODEL / _CONFIG).read_bytes()
    _with(_MODEL / _WEIGHTS, content, lambda: _with(_MODEL / _CONFIG, before, read))


def _header(content: bytes) -> None:
    _weights(_with_header(_MODEL / _WEIGHTS, content))


def _opened(folder: Path) -> None:
    config = read_config(folder)
    parse_json(config.to_text().encode())
    load_model(folder, "cpu")


def _read_again() -> None:
    config = read_config(_MODEL)
    parse_json(config.to_text().encode())
    if config.settings.model != _BASE.settings.model or config.classes != _BASE.classes:
        _opened(_MODEL)  # takes a hundred times as long


def _record(content: bytes) -> None:
    _with(_EXPORTED / _EXPORT, content, lambda: read_samples(read_export(_EXPORTED)))


def _exported(name: str, content: bytes) -> None:
    before = (_EXPORTED / _EXPORT).read_bytes()

    def read() -> None:
        files = json.loads(before)["files"]
        _sign(_EXPORTED / _EXPORT, {"files": {**files, name: _digest(content)}})
        read_samples(read_export(_EXPORTED))

    _with(_EXPORTED / name, content, lambda: _with(_EXPORTED / _EXPORT, before, read))


def _manifest(content: bytes) -> None:
    try:
        values = json.loads(content)
        values.pop("sha256", None)
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        content = json.dumps({**values, "sha256": _digest(text.encode())}).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass  # as it is, then
    _with(_SET / "manifest.json", content, _evaluated)


def _class_of_set(content: bytes) -> None:
    path = _SET / "bolt.safetensors"
    changed = _with_header(path, content)
    before = (_SET / "manifest.json").read_bytes()

    def read() -> None:
        _finish_set(_digest(changed))
        _evaluated()

    _with(path, changed, lambda: _with(_SET / "manifest.json", before, read))


def _evaluated() -> None:
    found = AdversarialSet(_SET)
    for name in found.classes:
        for batch in found.batches(name, 2):
            batch.images(found.levels[0].name)
    found.checks()


_READERS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "configuration": _configuration,
    "header": _header,
    "weights": _weights,
    "record": _record,
    "arrays": lambda content: _exported(
        "arrays.safetensors", _with_header(_EXPORTED / "arrays.safetensors", content)
    ),
    "samples": lambda content: _exported(
        "samples.safetensors", _with_header(_EXPORTED / "samples.safetensors", content)
    ),
    "manifest": _manifest,
    "class of a set": _class_of_set,
}


def _with(path: Path, content: bytes, read: Callable[[], object]) -> None:
    """Read a folder while one of its files has another content."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        read()
    finally:
        path.write_bytes(before)


def _sign(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


def _header_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 : 8 + struct.unpack("<Q", content[:8])[0]]


def _with_header(path: Path, header: bytes) -> bytes:
    content = path.read_bytes()
    return struct.pack("<Q", len(header)) + header + content[8 + len(_header_of(path)) :]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _make_model(folder: Path) -> TrainedModel:
    settings = Settings(
        data=DataSettings(height=EDGE, width=EDGE),
        model=ModelSettings(
            stem=8,
            reconstruction=ReconstructionSettings(widths=(1, 1, 1), attention="none"),
            localization=LocalizationSettings(widths=(1, 1, 1), attention="none", diffneck=False),
        ),
    )
    torch.manual_seed(0)
    classes = ("bolt", "nut")
    features = np.arange(4.0 * FEATURES).reshape(4, FEATURES) ** 1.5
    model = TrainedModel(
        settings=settings,
        classes=classes,
        network=build_model(settings.model),
        calibration=calibrate({name: [0.1, 0.2, 0.3] for name in classes}, 0.5, 0.4),
        recogniser=Recogniser.fit(features, np.repeat([0, 1], 2), classes),
        rois={"nut": np.ones((EDGE, EDGE), np.bool_)},
        training={},
        trained_files=frozenset({bytes(8), b"12345678"}),
    )
    save_model(folder, model)
    return model


def _make_export(folder: Path, model: TrainedModel) -> None:
    folder.mkdir()
    (folder / _CONFIG).write_bytes((_MODEL / _CONFIG).read_bytes())
    (folder / "model.onnx").write_bytes(_ONNX)
    save_file(
        extra_arrays(model.recogniser, model.rois, model.normality), folder / "arrays.safetensors"
    )
    maps = np.zeros((1, EDGE, EDGE), np.float32)
    images = np.zeros((1, 3, EDGE, EDGE), np.uint8)
    reference = Prediction(maps, np.zeros(1))
    write_samples(
        folder / "samples.safetensors", Samples(images, np.ones_like(maps, np.bool_), reference)
    )
    differences = {"images": 1, "map_largest": 0.0, "map_mean": 0.0, "score_largest": 0.0}
    shares = ("map_mean", "score_largest", "pixel_ap_loss", "verdicts_changed")
    tolerance = {"map_largest": None, **dict.fromkeys(shares, 1.0)}
    record = {
        "export_version": EXPORT_VERSION,
        "format": "onnx",
        "precision": "fp32",
        "hint": "f32",
        "executed": {},
        "gate": {
            "passed": True,
            "images": "synthetic",
            "differences": differences,
            "verdicts_changed": 0.0,
            "pixel_ap_reference": None,
            "pixel_ap": None,
            "tolerance": tolerance,
            "reasons": [],
        },
        "samples": differences,
        "samples_tolerance": tolerance,
        "candidates": [],
        "versions": {},
        "created": "",
        "files": {path.name: _digest(path.read_bytes()) for path in folder.glob("*.[os]*")},
    }
    record["files"].pop(_CONFIG, None)
    (folder / _EXPORT).write_text(json.dumps(record), "utf-8")
    read_samples(read_export(folder))


def _finish_set(digest: str) -> None:
    identity = Identity(
        schema_version=SCHEMA_VERSION,
        version="0",
        surrogate={"system": "surrogate", "size": "tiny", "weights_sha256": "0" * 64},
        seed=0,
        samples=1,
        anomalous_share=1.0,
        steps=2,
        alpha=0.5,
        levels=LEVELS,
        size=(4, 4),
        geometry="squash",
        recipe={},
        objective={},
        data={"bolt": "0" * 64},
    )
    entry = ClassEntry(name="bolt", sha256=digest, sources=("000.png",), defect_pixels=(1,))
    write_manifest(_SET, Manifest(identity=identity, classes=(entry,), made={}))


def _make_set(folder: Path) -> None:
    path = folder / "bolt.safetensors"
    folder.mkdir()
    images = np.zeros((1, 3, 4, 4), np.uint16)
    arrays = {"normal": images, "flags": np.full((1, 4, 4), 7, np.uint8), "anomalous": images}
    for level in LEVELS:
        arrays[f"perturbation.{level.name}"] = np.zeros((1, 3, 4, 4), np.int16)
        arrays[f"trace.{level.name}"] = np.linspace(1, 2, 6, dtype=np.float32)[None]
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    _finish_set(_digest(path.read_bytes()))
    _evaluated()


_MODEL, _EXPORTED, _SET = (Path(_room.name, name) for name in ("model", "export", "set"))
_BASE = _make_model(_MODEL)
_make_export(_EXPORTED, _BASE)
_make_set(_SET)
