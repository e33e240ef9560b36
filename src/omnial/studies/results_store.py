"""Files of a study: results under a key, pages, pictures; each written whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from omnial import machine
from omnial._version import __version__
from omnial.data.image_file import SUFFIXES
from omnial.data.listing import mark_own
from omnial.errors import UserError
from omnial.files import replacing, writing
from omnial.untrusted import UntrustedError, read_json

SCHEMA: Final = 1
"""Version of the result files."""


def digest(values: object) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write a file of a study; a picture is marked as a result, so that no run trains on it."""
    with writing("A file of the study", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in SUFFIXES:
            mark_own(path.parent, [path.name])
        with replacing(path) as part:
            part.write_bytes(content)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result file: JSON values with a `schema` and a `key`."""
    write_file(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def read_result(
    path: Path, key: str, parse: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> dict[str, Any]:
    """Read a result file; `parse` makes its content, and refuses it by a ValueError.

    What is not a result file, or has another key, is a UserError.
    """
    reason = "the result of something else"
    try:
        result: Any = read_json(path)
        if result["schema"] == SCHEMA and result["key"] == key:
            return parse(dict(result))
    except UntrustedError as error:
        reason = f"not a result of a study ({error})"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"not a result of a study ({type(error).__name__})"
    raise UserError(f"{path}: {reason}; move it away, and it is computed again")


def provenance() -> dict[str, Any]:
    """Version and machine that a result comes from, as JSON values."""
    facts = {name: value for name, value in machine.describe().items() if name != "load_before"}
    return {"version": __version__, "machine": facts}
