"""`config.json`: what a model folder, and every folder exported from it, says in plain text.

Reading it needs no PyTorch. A folder may come from anywhere, so nothing in the file is believed.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError

from omnial.config.settings import Settings
from omnial.errors import UserError
from omnial.models.recogniser import FEATURES, MOST_EXAMPLES
from omnial.models.thresholds import Calibration
from omnial.untrusted import JSON, Form, is_plain_name, plain, quoted, read_json

SCHEMA_VERSION = 3
"""Of `config.json`: exactly this one is read."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
RECOGNISER: Final = "recogniser."
"""Prefix of the recogniser's arrays."""
ROI: Final = "roi."
"""Prefix of the regions of interest; the class follows."""

_T = TypeVar("_T")
_M = TypeVar("_M", bound=BaseModel)
_DIGEST = re.compile("[0-9a-f]{64}")
_KEYS = {
    *("schema_version", "weights_sha256", "settings", "classes"),
    *("calibration", "training", "trained_files"),
}
_DIGEST_BYTES = 8  # of a trained file: two of a million files agree by chance once in 10^7 folders
MOST_FILES = 2**20
"""Most files that a model can be trained on: `config.json` keeps a digest of each."""
_LARGEST_SETTINGS = 2**16  # characters: a run's settings have about four thousand


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
    trained_files: frozenset[bytes]
    """Of each file that the network was trained on, see `short_digest`."""

    def to_text(self) -> str:
        """The file's content, in the present schema version."""
        config = {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.model_dump(mode="json"),
            "classes": list(self.classes),
            "calibration": self.calibration.model_dump(mode="json"),
            "training": dict(self.training),
            "weights_sha256": self.weights_sha256,
            "trained_files": base64.b64encode(b"".join(sorted(self.trained_files))).decode("ascii"),
        }
        return json.dumps(config, indent=2, allow_nan=False) + "\n"


def read_config(folder: Path) -> FolderConfig:
    """Read a folder's `config.json`.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    with refusing(folder, CONFIG_FILE):
        config = _read_keys(folder / CONFIG_FILE)
        if len(json.dumps(config["settings"])) > _LARGEST_SETTINGS:
            # Each wrong key costs a complaint, and all of them more memory than the file.
            raise ValueError(f"its settings have more than {_LARGEST_SETTINGS:,} characters")
        settings = _validated(Settings, config, "settings")
        classes = class_names(config["classes"])
        calibration = _validated(Calibration, config, "calibration")
        if set(calibration.per_class) != set(classes):
            raise ValueError("the calibration names other classes than the model")
        trained = _trained_files(config["trained_files"])
        training, weights = config["training"], config["weights_sha256"]
        if not isinstance(training, dict):
            raise ValueError("training is not an object")
        if not isinstance(weights, str) or not _DIGEST.fullmatch(weights):
            raise ValueError("weights_sha256 is no digest: weights and file do not belong together")
    return FolderConfig(settings, classes, calibration, training, weights, trained)


def short_digest(content: bytes) -> bytes:
    """What a folder keeps of a trained file: the first 8 bytes of its content's SHA-256."""
    return content[:_DIGEST_BYTES]


def class_names(names: object) -> tuple[str, ...]:
    """Check a list of class names.

    A ValueError says that it is no list of at least one name, a name stands in it twice, or could
    not be the name of one folder (`..`, a slash, a control character).
    """
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise ValueError("classes must be a list of names")
    if not names or len(set(names)) != len(names):
        raise ValueError("classes must be at least one name, none of them twice")
    for name in names:
        if not is_plain_name(name):
            raise ValueError(f"{quoted(name)} cannot be the name of a class, which is a folder's")
    return tuple(names)


def refusal(folder: Path, reason: str) -> UserError:
    """The error for a folder that is not what `omnial train` or `omnial export` wrote."""
    return UserError(
        f"{folder} is not a usable model folder: {plain(reason)}. Name the folder that "
        "`omnial train --out` or `omnial export --out` wrote, or make it again."
    )


@contextmanager
def refusing(folder: Path, name: str) -> Iterator[None]:
    """Turn what goes wrong with a file of a folder into the `refusal` that names it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise refusal(folder, f"it has no file {name}") from error
    except OSError as error:
        raise refusal(folder, f"{name} cannot be read: {error}") from error
    except (ValueError, SafetensorError) as error:
        raise refusal(folder, f"{name}: {error}") from error


def under(prefix: str, arrays: Mapping[str, _T]) -> dict[str, _T]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _validated(kind: type[_M], config: Mapping[str, object], name: str) -> _M:
    try:
        return kind.model_validate(config[name])
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join([name, *map(str, problem["loc"])])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ValueError(f"{place}: {problem['msg']}{more}") from error


def _trained_files(text: object) -> frozenset[bytes]:
    if not isinstance(text, str):
        raise ValueError("trained_files is not a text")
    joined = base64.b64decode(text, validate=True)
    if len(joined) % _DIGEST_BYTES or len(joined) > _DIGEST_BYTES * MOST_FILES:
        raise ValueError(f"trained_files is not the digests of at most {MOST_FILES:,} files")
    starts = range(0, len(joined), _DIGEST_BYTES)
    digests = [joined[start : start + _DIGEST_BYTES] for start in starts]
    if any(first >= second for first, second in pairwise(digests)):
        raise ValueError("the digests in trained_files do not rise")
    return frozenset(digests)


def _read_keys(path: Path) -> dict[str, object]:
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError("it does not hold an object")
    version = config.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ValueError(
            f"it was made by another version of omnial (its schema version is {quoted(version)}, "
            f"this one reads {SCHEMA_VERSION}); read it with that version"
        )
    if set(config) != _KEYS:
        missing, unknown = sorted(_KEYS - set(config)), sorted(set(config) - _KEYS)
        raise ValueError(f"missing keys {missing}, unknown keys {quoted(unknown[:5])}")
    return config


def extra_forms(
    settings: Settings, classes: Sequence[str], found: Mapping[str, Form]
) -> dict[str, Form]:
    """Types and shapes of every tensor that is not of the network: recogniser and regions.

    Args:
        settings: The run's.
        classes: The model's classes.
        found: What the file says it holds: a class has a region of interest or has none, and
            the number of its examples is bounded alone.
    """

    def examples(name: str, most: int) -> Form:
        shape = found[name].shape if name in found else ()
        return Form("F32", (min(shape[0], most) if shape else most, FEATURES))

    count, size = len(classes), (settings.data.height, settings.data.width)
    forms = {
        "examples": examples(RECOGNISER + "examples", MOST_EXAMPLES * count),
        "nothing": examples(RECOGNISER + "nothing", MOST_EXAMPLES),
        "counts": Form("I64", (count,)),
        "scale": Form("F32", (FEATURES,)),
        "radius": Form("F32", (count,)),
        "least": Form("F32", (count,)),
    }
    regions = {ROI + name: Form("BOOL", size) for name in classes if ROI + name in found}
    return {RECOGNISER + name: form for name, form in forms.items()} | regions
