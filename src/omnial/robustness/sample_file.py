"""One sample of an adversarial set on disk: a safetensors file, verified as it is written.

Nothing in it is rounded to 8 bits; see `omnial.robustness.grid`. The format holds plain data,
and the shape of every array is compared with what the set's size asks for before memory is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from omnial.errors import RunError
from omnial.files import file_digest, replacing, writing
from omnial.robustness.checks import Trace
from omnial.robustness.grid import PER_GREY_LEVEL
from omnial.robustness.levels import Level
from omnial.untrusted import Form, UntrustedError, check_forms, read_forms

SUFFIX: Final = ".safetensors"
_MASK, _PANEL, _VALID = 1, 2, 4  # bits of `flags`


class BadSampleError(Exception):
    """A sample's file is not what a set of this size holds; the message says why."""


@dataclass(frozen=True)
class StoredSample:
    """One sample with its perturbations.

    Attributes:
        normal: (3, H, W) uint16, the defect-free image I.
        anomalous: (3, H, W) uint16, the sample A.
        mask: (H, W) bool, Y.
        panel: (H, W) bool.
        valid: (H, W) bool, the region of interest.
        steps: (3, H, W) int16 a level, the perturbation in steps of the grid.
        traces: How the attack of each level went, each of one sample.
    """

    normal: NDArray[np.uint16]
    anomalous: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    panel: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    steps: Mapping[str, NDArray[np.int16]]
    traces: Mapping[str, Trace]


def write_sample(path: Path, sample: StoredSample, levels: Sequence[Level]) -> str:
    """Write a sample, read it back, and compare.

    Returns:
        The file's SHA-256.

    Raises:
        RunError: The file cannot be written, or what was read back is not what was written, or
            a perturbation leaves its ball.
    """
    arrays = _arrays(sample)
    with writing("The sample", path, SafetensorError, BadSampleError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file(arrays, part)
            back = _read(part, {name: _form(array) for name, array in arrays.items()})
            if any(not np.array_equal(array, back[name]) for name, array in arrays.items()):
                raise RunError(f"{path}: what the disk holds is not what was written")
            _check_bounds(back, levels)
            return file_digest(part)


def read_sample(
    path: Path, levels: Sequence[Level], attack_steps: int, size: tuple[int, int]
) -> StoredSample:
    """Read a sample.

    Args:
        path: The file.
        levels: The set's levels.
        attack_steps: Steps of the attack, which say how long a trace is.
        size: Height and width of the set's images.

    Raises:
        BadSampleError: The file is damaged, of another shape, or a perturbation leaves its ball.
    """
    height, width = size
    expected = {"normal": Form("U16", (3, height, width))}
    expected["anomalous"] = expected["normal"]
    expected["flags"] = Form("U8", (height, width))
    for level in levels:
        expected[f"steps.{level.name}"] = Form("I16", (3, height, width))
        expected[f"trace.{level.name}"] = Form("F32", (attack_steps + 4,))
    try:
        arrays = _read(path, expected)
    except (OSError, SafetensorError) as error:
        raise BadSampleError(f"it cannot be read ({error})") from error
    if not all(np.isfinite(arrays[f"trace.{level.name}"]).all() for level in levels):
        raise BadSampleError("a loss in it is NaN or infinity")
    _check_bounds(arrays, levels)
    flags = arrays["flags"]
    return StoredSample(
        normal=arrays["normal"],
        anomalous=arrays["anomalous"],
        mask=(flags & _MASK) > 0,
        panel=(flags & _PANEL) > 0,
        valid=(flags & _VALID) > 0,
        steps={level.name: arrays[f"steps.{level.name}"] for level in levels},
        traces={level.name: _trace(arrays[f"trace.{level.name}"]) for level in levels},
    )


def _arrays(sample: StoredSample) -> dict[str, NDArray[Any]]:
    flags = _MASK * sample.mask + _PANEL * sample.panel + _VALID * sample.valid
    arrays: dict[str, NDArray[Any]] = {
        "normal": sample.normal,
        "anomalous": sample.anomalous,
        "flags": flags.astype(np.uint8),
    }
    for name, steps in sample.steps.items():
        trace = sample.traces[name]
        parts = (trace.unattacked, trace.random, trace.gradient, trace.values[:, 0])
        arrays[f"steps.{name}"] = steps
        arrays[f"trace.{name}"] = np.concatenate(parts).astype(np.float32)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _trace(values: NDArray[np.float32]) -> Trace:
    return Trace(values[:1], values[1:2], values[3:, None], values[2:3])


def _form(array: NDArray[Any]) -> Form:
    names = {"uint16": "U16", "uint8": "U8", "int16": "I16", "float32": "F32"}
    return Form(names[array.dtype.name], array.shape)


def _read(path: Path, expected: Mapping[str, Form]) -> dict[str, Any]:
    try:
        check_forms(read_forms(path, len(expected)), expected)
    except UntrustedError as error:
        raise BadSampleError(str(error)) from error
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in expected}


def _check_bounds(arrays: Mapping[str, NDArray[Any]], levels: Sequence[Level]) -> None:
    for level in levels:
        steps = arrays[f"steps.{level.name}"].astype(np.int32)
        reached = arrays["anomalous"].astype(np.int32) + steps
        bound = round(level.grey_levels * PER_GREY_LEVEL)
        if np.abs(steps).max() > bound or reached.min() < 0 or reached.max() > 65535:
            raise BadSampleError(f"the perturbation of level {level.name} leaves its ball")
