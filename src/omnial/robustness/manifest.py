"""What an adversarial set was made from, and the digests of what it consists of."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from omnial.errors import UserError
from omnial.files import replacing, writing
from omnial.robustness.levels import Level
from omnial.untrusted import UntrustedError, inside, is_plain_name, plain, quoted, read_json

MANIFEST_FILE: Final = "manifest.json"
PLAN_FILE: Final = "plan.json"
SCHEMA_VERSION: Final = 1
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_LARGEST_EDGE = 4096
_MOST_STEPS = 10_000


_LEVELS: Final = TypeAdapter(tuple[Level, ...])


@dataclass(frozen=True)
class Identity:
    """Everything that decides what a set holds: two sets of one identity differ by rounding.

    Rounding includes signs of gradients near zero; see docs/robustness.md.

    Attributes:
        schema_version: Of the files.
        version: Of omnial.
        surrogate: System, size and weights' SHA-256 of the attacked model.
        seed: Of samples and attacks.
        samples: Samples a class.
        anomalous_share: Share of them that have a defect.
        steps: Steps of the attack.
        alpha: Length of a step, as a share of the radius.
        levels: Name, radius in grey levels, targeted or not.
        size: Height and width.
        geometry: How files became images of this size.
        recipe: The synthesis settings.
        objective: The attacked loss's settings.
        data: SHA-256 of the training images of each class, in order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    schema_version: int
    version: str
    surrogate: dict[str, str]
    seed: int
    samples: int
    anomalous_share: float
    steps: int
    alpha: float
    levels: list[dict[str, Any]]
    size: list[int]
    geometry: str
    recipe: dict[str, Any]
    objective: dict[str, Any]
    data: dict[str, str]

    @property
    def all_levels(self) -> tuple[Level, ...]:
        """The levels."""
        return _LEVELS.validate_json(json.dumps(self.levels))


@dataclass(frozen=True)
class Entry:
    """One sample of a set.

    Attributes:
        class_name: Its class.
        number: Its number within the class.
        file: Its file, relative to the set, with forward slashes.
        sha256: The file's digest.
        source: File name of its defect-free image.
        defect_pixels: Pixels of its mask; 0 for a normal sample.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    class_name: str
    number: int
    file: str
    sha256: str
    source: str
    defect_pixels: int


@dataclass(frozen=True)
class Manifest:
    """A finished set.

    Attributes:
        identity: What it was made from.
        samples: What it holds, class by class in order.
        made: Facts without influence on the content: time, machine, seconds.
    """

    identity: Identity
    samples: tuple[Entry, ...]
    made: Mapping[str, Any]


_IDENTITY: Final = TypeAdapter(Identity)
_ENTRY: Final = TypeAdapter(Entry)


def write_plan(folder: Path, identity: Identity) -> None:
    """Note what is about to be made, so that another run can go on with it.

    Raises:
        RunError: The folder cannot be written.
    """
    with writing("The plan", folder), replacing(folder / PLAN_FILE) as part:
        part.write_text(json.dumps(asdict(identity), indent=2) + "\n", encoding="utf-8")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: with it, a set is finished.

    Raises:
        RunError: The folder cannot be written.
    """
    content = asdict(manifest)
    content["sha256"] = _digest(content)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    with writing("The manifest", folder), replacing(folder / MANIFEST_FILE) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read a set's manifest.

    Raises:
        UserError: There is none, or it is not what was written.
    """
    path = folder / MANIFEST_FILE
    if not os.path.lexists(path):
        unfinished = (folder / PLAN_FILE).is_file()
        reason = "the set is not finished" if unfinished else "there is no such file"
        raise UserError(
            f"{path}: {reason}. Name the folder that `omnial attack --out` wrote"
            + (", or run the same command again to finish it." if unfinished else ".")
        )
    content = _read_json(path)
    stated = content.pop("sha256", None)
    if stated != _digest(content):
        raise refusal(path, "its content is not what was written (another digest)")
    try:
        identity = _identity(content["identity"])
        samples = tuple(_entry(folder, entry) for entry in content["samples"])
        made = dict(content["made"])
    except UntrustedError as error:
        raise refusal(path, str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise refusal(path, f"it is not a manifest ({error})") from error
    return Manifest(identity, samples, made)


def read_plan(folder: Path) -> Identity | None:
    """What an unfinished set in a folder was to be made from; None where there is none.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / PLAN_FILE
    if not os.path.lexists(path):
        return None
    try:
        return _identity(_read_json(path))
    except UntrustedError as error:
        raise refusal(path, str(error)) from error
    except ValueError as error:
        raise refusal(path, f"it is not a plan ({error})") from error


def differences(first: Identity, second: Identity) -> list[str]:
    """Names of what differs between two identities."""
    return [
        field.name
        for field in fields(Identity)
        if getattr(first, field.name) != getattr(second, field.name)
    ]


def refusal(path: Path, reason: str) -> UserError:
    """The error for a set that cannot be trusted."""
    return UserError(
        f"{path}: {plain(reason)}. The set was changed or damaged: copy it again from where it was "
        "made, or make it anew with `omnial attack` into another folder."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except UntrustedError as error:
        raise refusal(path, str(error)) from error
    except OSError as error:
        raise refusal(path, f"it cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise refusal(path, "it does not hold an object")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(content: object) -> Identity:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is int and version != SCHEMA_VERSION:
        raise UntrustedError(
            f"it was made by another version of omnial (its schema version is {version}, this one "
            f"reads {SCHEMA_VERSION})"
        )
    identity = _IDENTITY.validate_json(json.dumps(content))
    levels = identity.all_levels
    names = [level.name for level in levels]
    if not names or len(set(names)) != len(names) or not all(map(is_plain_name, names)):
        raise ValueError("the levels have no names of their own")
    if not all(0.0 < level.grey_levels <= 255.0 for level in levels):
        raise ValueError("a level's radius is not between 0 and 255 grey levels")
    if len(identity.size) != 2 or not all(1 <= edge <= _LARGEST_EDGE for edge in identity.size):
        raise ValueError(f"the size is not a height and a width of 1 to {_LARGEST_EDGE}")
    if not 1 <= identity.steps <= _MOST_STEPS:
        raise ValueError(f"the attack has {identity.steps} steps, not 1 to {_MOST_STEPS}")
    return identity


def _entry(folder: Path, content: object) -> Entry:
    entry = _ENTRY.validate_json(json.dumps(content))
    if not is_plain_name(entry.class_name):
        raise ValueError(f"{quoted(entry.class_name)} cannot be the name of a class")
    inside(folder, entry.file)
    return entry
