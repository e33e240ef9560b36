"""Inputs with known outputs, by which an export folder is checked anywhere."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel
from safetensors.numpy import load_file, save_file

from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit
from omnial.inference.engines import BackendName, open_engine
from omnial.model_folder.config_file import refusing
from omnial.model_folder.export_folder import (
    SAMPLES_FILE,
    Differences,
    Export,
    Tolerance,
    read_export,
)
from omnial.models.prediction import Backend, Prediction
from omnial.untrusted import Form, UntrustedError, check_forms, read_forms

COUNT = 4
MOST = 64
"""Most samples that are read: `omnial export` writes `COUNT`."""


class Samples(NamedTuple):
    """A few network inputs and PyTorch's results for them in float32."""

    images: NDArray[np.uint8]
    """(N, 3, H, W)."""
    valid: NDArray[np.bool_]
    """(N, H, W)."""
    reference: Prediction


class Verification(BaseModel):
    """Result of `omnial verify`."""

    passed: bool
    reasons: tuple[str, ...]
    differences: Differences
    tolerance: Tolerance
    engine: dict[str, str]
    """Engine, device and precision on this machine."""


def make_inputs(settings: DataSettings) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Made-up pictures, always the same: smooth colours with grain, bright and dark patches.

    (N, 3, H, W) images, and (N, H, W) valid pixels, of which the last image lacks its left quarter.
    """
    height, width = settings.height, settings.width
    random = np.random.default_rng(0)
    images = []
    for _ in range(COUNT):
        coarse = random.integers(60, 200, (6, 6, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth) + random.normal(0.0, 6.0, (height, width, 1))
        for tone in (-70.0, 70.0):
            top, left = random.integers(0, height // 2), random.integers(0, width // 2)
            pixels[top : top + height // 8, left : left + width // 6] += tone
        images.append(pixels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
    valid = np.ones((COUNT, height, width), np.bool_)
    valid[-1, :, : width // 4] = False
    return np.stack(images), valid


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples with their reference."""
    score_maps, scores, *_ = samples.reference
    arrays: dict[str, NDArray[Any]] = {"images": samples.images, "valid": samples.valid}
    arrays |= {"score_map": score_maps, "score": scores}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path)


def read_samples(export: Export) -> Samples:
    """The samples of an export folder."""
    data = export.config.settings.data
    size = (data.height, data.width)
    path = export.folder / SAMPLES_FILE
    with refusing(export.folder, SAMPLES_FILE):
        found = read_forms(path, 4)
        shape = found["images"].shape if "images" in found else ()
        count = shape[0] if shape else 0
        if not 0 < count <= MOST:
            raise UntrustedError(f"it holds {count} images, not 1 to {MOST}")
        expected = {
            "images": Form("U8", (count, 3, *size)),
            "valid": Form("BOOL", (count, *size)),
            "score_map": Form("F32", (count, *size)),
            "score": Form("F64", (count,)),
        }
        check_forms(found, expected)
        arrays = load_file(path)
        reference = Prediction(arrays["score_map"], arrays["score"])
        if not (np.isfinite(reference.score_maps).all() and np.isfinite(reference.scores).all()):
            raise UntrustedError("it holds NaN or infinity")
    return Samples(arrays["images"], arrays["valid"], reference)


def run_samples(engine: Backend, samples: Samples) -> Differences:
    """Differences of an engine from the reference on the samples, one image at a time."""
    images = as_unit(samples.images)
    parts = [engine.run(images[i : i + 1], samples.valid[i : i + 1]) for i in range(len(images))]
    maps = np.concatenate([part.score_maps for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    return differences(samples.reference.score_maps, samples.reference.scores, maps, scores)


def differences(
    reference_maps: Iterable[NDArray[np.float32]],
    reference_scores: NDArray[np.float64],
    maps: Iterable[NDArray[np.float32]],
    scores: NDArray[np.float64],
) -> Differences:
    """How far two results for the same images lie apart; NaN counts as the largest difference."""
    pairs = zip(reference_maps, maps, strict=True)
    apart = np.concatenate([np.abs(found - wanted).ravel() for wanted, found in pairs])
    apart = np.nan_to_num(apart, nan=1.0)
    scores_apart = np.nan_to_num(np.abs(scores - reference_scores), nan=1.0)
    return Differences(
        images=len(scores),
        map_largest=float(apart.max()),
        map_mean=float(apart.mean(dtype=np.float64)),
        score_largest=float(scores_apart.max()),
    )


def beyond(found: Differences, tolerance: Tolerance) -> tuple[str, ...]:
    """The differences that lie beyond a tolerance, in words."""
    pairs = (
        ("largest difference of a map", found.map_largest, tolerance.map_largest),
        ("mean difference of the maps", found.map_mean, tolerance.map_mean),
        ("largest difference of a score", found.score_largest, tolerance.score_largest),
    )
    return tuple(
        f"{name} {value:.2g}, allowed {allowed:.2g}"
        for name, value, allowed in pairs
        if allowed is not None and value > allowed
    )


def verify(folder: Path, backend: BackendName = "auto", device: str = "auto") -> Verification:
    """Repeat an export's comparison with PyTorch, without PyTorch, on this machine."""
    export = read_export(folder)
    engine = open_engine(export, backend, device)
    found = run_samples(engine, read_samples(export))
    tolerance, gate = export.record.samples_tolerance, export.record.gate
    reasons = beyond(found, tolerance)
    if not gate.passed:
        reasons = (*reasons, *(f"when exported: {text}" for text in gate.reasons))
    return Verification(
        passed=not reasons,
        reasons=reasons,
        differences=found,
        tolerance=tolerance,
        engine=engine.facts(),
    )
