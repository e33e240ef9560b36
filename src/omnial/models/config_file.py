"""`config.json`: what a model folder, and every folder exported from it, says in plain text.

Reading it needs no PyTorch. A folder may come from anywhere, so nothing in the file is believed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from pydantic import ValidationError

from omnial.calibration.thresholds import Calibration
from omnial.config.settings import Settings
from omnial.errors import UserError

SCHEMA_VERSION = 2
"""Version 2 keeps the scores that the thresholds were set from; version 1 is still read."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

_T = TypeVar("_T")
_READABLE = (1, SCHEMA_VERSION)
_KEYS = {"schema_version", "weights_sha256", "settings", "classes", "calibration", "training"}
_LARGEST = 2**24


@dataclass(frozen=True)
class FolderConfig:
    """The content of `config.json`."""

    settings: Settings
    classes: tuple[str, ...]
    """Names of the products, in the order of training."""
    calibration: Calibration
    """Thresholds of exactly the classes above."""
    training: Mapping[str, JSON]
    """Facts about the training."""
    weights_sha256: str
    """Digest of the weights that belong to it."""

    def to_text(self) -> str:
        """The file's content, in the present schema version."""
        config = {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.model_dump(mode="json"),
            "classes": list(self.classes),
            "calibration": self.calibration.to_dict(),
            "training": dict(self.training),
            "weights_sha256": self.weights_sha256,
        }
        return json.dumps(config, indent=2, allow_nan=False) + "\n"


def read_config(folder: Path) -> FolderConfig:
    """Read a folder's `config.json`.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    config = _read_keys(folder)
    try:
        settings = Settings.model_validate(config["settings"])
        classes = class_names(config["classes"])
        calibration = Calibration.from_dict(config["calibration"])
        if set(calibration.per_class) != set(classes):
            raise ValueError("the calibration names other classes than the model")
    except (ValidationError, ValueError) as error:
        raise refusal(folder, f"{CONFIG_FILE}: {error}") from error
    training, weights = config["training"], config["weights_sha256"]
    if not isinstance(training, dict):
        raise refusal(folder, f"{CONFIG_FILE}: training is not an object")
    if not isinstance(weights, str):
        raise refusal(
            folder,
            f"{CONFIG_FILE}: weights_sha256 is no digest: weights and file do not belong together",
        )
    return FolderConfig(settings, classes, calibration, training, weights)


def class_names(names: object) -> tuple[str, ...]:
    """Check a list of class names.

    Raises:
        ValueError: It is no list of at least one name, or a name stands in it twice.
    """
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise ValueError("classes must be a list of names")
    if not names or len(set(names)) != len(names):
        raise ValueError("classes must be at least one name, none of them twice")
    return tuple(names)


def refusal(folder: Path, reason: str) -> UserError:
    """The error for a folder that is not what `omnial train` or `omnial export` wrote."""
    return UserError(
        f"{folder} is not a usable model folder: {reason}. Name the folder that "
        "`omnial train --out` or `omnial export --out` wrote, or make it again."
    )


def under(prefix: str, arrays: Mapping[str, _T]) -> dict[str, _T]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _read_keys(folder: Path) -> dict[str, object]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise refusal(folder, f"it has no file {CONFIG_FILE}")
    try:
        if path.stat().st_size > _LARGEST:
            raise refusal(folder, f"{CONFIG_FILE} is larger than {_LARGEST} bytes")
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise refusal(folder, f"{CONFIG_FILE} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise refusal(folder, f"{CONFIG_FILE} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise refusal(folder, f"{CONFIG_FILE} does not hold an object")
    version = config.get("schema_version")
    if type(version) is not int or version not in _READABLE:
        raise refusal(
            folder,
            f"its schema version is {version!r}, this version of omnial reads up to "
            f"{SCHEMA_VERSION}",
        )
    if set(config) != _KEYS:
        missing, unknown = sorted(_KEYS - set(config)), sorted(set(config) - _KEYS)
        raise refusal(folder, f"{CONFIG_FILE}: missing keys {missing}, unknown keys {unknown}")
    return config


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")
