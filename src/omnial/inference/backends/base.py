"""What the engines of exported networks have in common."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from omnial.errors import UserError

Ports: TypeAlias = Mapping[str, tuple[int | None, ...]]
"""Shapes of an exported network's inputs and outputs, by name; None is any length."""

PORTS: Final = ("images", "valid", "score_map", "score", "features", "reconstruction")
"""Names of an exported network's inputs and outputs; the last is not always there."""

_REPORTER = "openvino_telemetry"
_SWITCH = "ORT_DISABLE_TELEMETRY"


@contextmanager
def needs_package(package: str, extra: str) -> Iterator[None]:
    """Around the import of an engine: its telemetry is off, and a failure becomes advice.

    Raises:
        UserError: The package is not installed.
    """
    try:
        with telemetry_off():
            yield
    except ImportError as error:
        raise UserError(
            f"{package} is not installed, or cannot be loaded ({error}). Install it: "
            f"pip install '{extra}'."
        ) from error


@contextmanager
def telemetry_off() -> Iterator[None]:
    """Keep the engines that are imported inside from reporting their use over the network.

    OpenVINO and NNCF report through `openvino-telemetry`; they go without it as if it were not
    installed, from now on in this process, since it has no other switch. A program that has
    imported it before has decided for itself. ONNX Runtime has a switch in the environment, which
    is afterwards what it was.
    """
    modules: dict[str, Any] = sys.modules
    # None is Python's own mark of a module that cannot be imported.
    modules.setdefault(_REPORTER, None)
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "1"  # read when the library is loaded
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before
