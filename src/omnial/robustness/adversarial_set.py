"""Adversarial sets on disk: a safetensors file for each class, and a manifest with their digests.

The manifest is written after every class: one that names all classes is a finished set. Shapes are
compared with what the manifest asks for before memory is taken, and samples are read in batches.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from omnial.attacks.pgd import Level
from omnial.config.settings import Section
from omnial.errors import RunError, UserError
from omnial.files import file_digest, replacing, writing
from omnial.robustness.attack_checks import Check, Trace, check_traces
from omnial.robustness.clean_samples import GRID, GRID_PER_GREY_LEVEL, SetSamples
from omnial.untrusted import (
    Form,
    UntrustedError,
    check_forms,
    check_regular,
    is_plain_name,
    plain,
    quoted,
    read_forms,
    read_json,
    reason_of,
)

MANIFEST_FILE: Final = "manifest.json"
SCHEMA_VERSION: Final = 2
_MASK, _PANEL, _VALID = 1, 2, 4  # bits of `flags`


def _check_class_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError(f"{quoted(name)} cannot be the name of a class")
    return name


_ClassName = Annotated[str, AfterValidator(_check_class_name)]
_Edge = Annotated[int, Field(ge=1, le=4096)]


class Identity(Section, strict=True):
    """Everything that decides what a set holds: two sets of one identity differ by rounding.

    Rounding includes signs of gradients near zero; see docs/robustness.md.
    """

    schema_version: int
    version: str
    """Of omnial."""
    surrogate: dict[str, str]
    """System, size and weights' SHA-256 of the attacked model."""
    seed: int
    samples: int = Field(ge=1)
    """Samples a class."""
    anomalous_share: float
    """Share of them that have a defect."""
    steps: int = Field(ge=1, le=10_000)
    alpha: float
    """Length of a step, as a share of the radius."""
    levels: tuple[Level, ...] = Field(min_length=1)
    size: tuple[_Edge, _Edge]
    """Height and width."""
    geometry: str
    """How files became images of this size."""
    recipe: dict[str, Any]
    """Settings of the synthesis."""
    objective: dict[str, Any]
    """Settings of the attacked loss."""
    data: dict[_ClassName, str]
    """SHA-256 of the training images of each class, in order."""


class ClassEntry(Section, strict=True):
    """One class of a set."""

    name: _ClassName
    sha256: str
    """Digest of its file."""
    sources: tuple[str, ...]
    """File name of each sample's defect-free image."""
    defect_pixels: tuple[int, ...]
    """Pixels of each sample's mask; 0 for a normal sample."""


class Manifest(Section, strict=True):
    """Content of manifest.json."""

    identity: Identity
    classes: tuple[ClassEntry, ...]
    """Finished classes, in the order of the identity's."""
    made: dict[str, Any]
    """Facts without influence on the content: time, machine, seconds."""

    @model_validator(mode="after")
    def _check_classes(self) -> "Manifest":
        count, planned = self.identity.samples, list(self.identity.data)
        if [entry.name for entry in self.classes] != planned[: len(self.classes)]:
            raise ValueError("the classes are not those that the set was planned with")
        if any(len(e.sources) != count or len(e.defect_pixels) != count for e in self.classes):
            raise ValueError(f"a class has not {count:,} samples")
        return self

    @property
    def finished(self) -> bool:
        """Whether every planned class is there."""
        return len(self.classes) == len(self.identity.data)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json with a digest of itself."""
    content = manifest.model_dump(mode="json")
    content["sha256"] = _digest(content)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    with writing("The manifest", folder), replacing(folder / MANIFEST_FILE) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a set, also of an unfinished one; a UserError if it was changed."""
    path = folder / MANIFEST_FILE
    if not os.path.lexists(path):
        raise UserError(
            f"{path}: there is no such file. Name the folder that `omnial attack --out` wrote."
        )
    with _refusing(path):
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("identity"), dict):
            raise UntrustedError("it is not a manifest")
        if content.pop("sha256", None) != _digest(content):
            raise UntrustedError("its content is not what was written (another digest)")
        version = content["identity"].get("schema_version")
        if version != SCHEMA_VERSION:
            raise UntrustedError(
                "it was made by another version of omnial (its schema version is "
                f"{quoted(version)}, this one reads {SCHEMA_VERSION})"
            )
        return Manifest.model_validate_json(json.dumps(content))


def class_arrays(
    clean: SetSamples, attacks: Mapping[str, tuple[NDArray[np.int16], Trace]]
) -> dict[str, NDArray[Any]]:
    """Arrays of a class's file, of n samples and their perturbation and trace by level."""
    flags = _MASK * clean.mask + _PANEL * clean.panel + _VALID * clean.valid
    arrays: dict[str, NDArray[Any]] = {"normal": clean.normal, "anomalous": clean.anomalous}
    arrays["flags"] = flags.astype(np.uint8)
    for name, (steps, trace) in attacks.items():
        columns = [trace.unattacked, trace.random, trace.gradient, *trace.values]
        arrays |= {f"perturbation.{name}": steps, f"trace.{name}": np.stack(columns, axis=1)}
    return arrays


def write_class(folder: Path, class_name: str, arrays: dict[str, NDArray[Any]]) -> str:
    """Write a class's file and return its SHA-256; a RunError if the disk holds something else."""
    path, content = folder / f"{class_name}.safetensors", save(arrays)
    digest = hashlib.sha256(content).hexdigest()
    with writing("The samples", path), replacing(path) as part:
        part.write_bytes(content)
        if file_digest(part) != digest:
            raise RunError(f"{path}: what the disk holds is not what was written")
    return digest


class AdversarialSet:
    """A finished set in the folder that `omnial attack` wrote: verified, then read class by class.

    `defect_pixels` are the pixels of each sample's mask, by class. Opening it raises a UserError
    where it is not finished or a file was changed, and so does what reads its samples.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.identity = self.manifest.identity
        self.levels, self.size = self.identity.levels, self.identity.size
        if not self.manifest.finished:
            raise UserError(
                f"{folder / MANIFEST_FILE}: the set is not finished. Run the same `omnial attack` "
                "command again to finish it."
            )
        self._entries = {entry.name: entry for entry in self.manifest.classes}
        self.classes = tuple(self._entries)
        self.defect_pixels = {name: entry.defect_pixels for name, entry in self._entries.items()}
        self._forms = _expected_forms(self.identity)
        for name, entry in self._entries.items():
            with _refusing(self._path(name)) as path:
                check_regular(path)
                if file_digest(path) != entry.sha256:
                    raise UntrustedError("it is not what the manifest names (another digest)")
                check_forms(read_forms(path, len(self._forms)), self._forms)

    def facts(self) -> dict[str, Any]:
        """What the set is and how it was made: JSON values."""
        identity = self.identity.model_dump(mode="json")
        areas = [area for own in self.defect_pixels.values() for area in own]
        return {
            **{name: identity[name] for name in ("surrogate", "seed", "steps", "alpha", "size")},
            "folder": str(self.folder),
            "samples_per_class": identity["samples"],
            "samples": len(areas),
            "anomalous": sum(area > 0 for area in areas),
            "made": dict(self.manifest.made),
        }

    def batches(self, class_name: str, size: int, most: int | None = None) -> Iterator[SetSamples]:
        """The first `most` samples of a class, or all, in batches of this size."""
        count = min(self.identity.samples, most or self.identity.samples)
        names = [name for name in self._forms if not name.startswith("trace.")]
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            arrays = self._read(class_name, names, rows)
            flags = arrays["flags"]
            perturbations = {x.name: arrays[f"perturbation.{x.name}"] for x in self.levels}
            for level in self.levels:
                if not _is_in_ball(arrays["anomalous"], perturbations[level.name], level):
                    reason = f"the perturbation of level {level.name} leaves its ball"
                    raise _refusal(self._path(class_name), reason)
            yield SetSamples(
                class_name=class_name,
                numbers=tuple(range(rows.start, rows.stop)),
                sources=self._entries[class_name].sources[rows],
                normal=arrays["normal"],
                anomalous=arrays["anomalous"],
                mask=(flags & _MASK) > 0,
                panel=(flags & _PANEL) > 0,
                valid=(flags & _VALID) > 0,
                perturbations=perturbations,
            )

    @cached_property
    def traces(self) -> dict[str, Trace]:
        """How the attack that made the set went, at each level."""
        parts: dict[str, list[Trace]] = {level.name: [] for level in self.levels}
        for class_name in self.classes:
            for level, traces in parts.items():
                (rows,) = self._read(class_name, [f"trace.{level}"], slice(None)).values()
                if not np.isfinite(rows).all():
                    raise _refusal(self._path(class_name), "a loss in it is NaN or infinity")
                traces.append(Trace(rows[:, 0], rows[:, 1], rows[:, 3:].T, rows[:, 2]))
        return {level: Trace.joined(some) for level, some in parts.items()}

    def checks(self) -> list[Check]:
        """Checks of the attack that made the set."""
        return check_traces(self.traces, self.levels)

    def _path(self, class_name: str) -> Path:
        return self.folder / f"{class_name}.safetensors"

    def _read(self, class_name: str, names: list[str], rows: slice) -> dict[str, NDArray[Any]]:
        with _refusing(self._path(class_name)) as path, safe_open(path, "numpy") as file:
            return {name: file.get_slice(name)[rows] for name in names}


def _expected_forms(identity: Identity) -> dict[str, Form]:
    count, size = identity.samples, identity.size
    images, trace = (count, 3, *size), (count, identity.steps + 4)
    expected = {"normal": Form("U16", images), "anomalous": Form("U16", images)}
    expected["flags"] = Form("U8", (count, *size))
    for level in identity.levels:
        expected[f"perturbation.{level.name}"] = Form("I16", images)
        expected[f"trace.{level.name}"] = Form("F32", trace)
    return expected


def _is_in_ball(clean: NDArray[np.uint16], steps: NDArray[np.int16], level: Level) -> bool:
    reached, largest = clean.astype(np.int32) + steps, np.abs(steps.astype(np.int32)).max()
    bound = round(level.grey_levels * GRID_PER_GREY_LEVEL)
    return bool(largest <= bound and reached.min() >= 0 and reached.max() <= GRID)


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[Path]:
    """Refuse a file of a set where what is in it, or reading it, is not as it should be."""
    try:
        yield path
    except (OSError, ValueError, SafetensorError) as error:
        raise _refusal(path, reason_of(error)) from error


def _refusal(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: {plain(reason)}. The set was changed or damaged: copy it again from where it was "
        "made, or make it again with `omnial attack` into another folder."
    )


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
