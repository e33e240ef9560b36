"""Inference says nothing about itself over the network.

OpenVINO's converter and NNCF report their use through the package `openvino-telemetry`, unless its
user has opted out; ONNX Runtime reports through code of its own.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_REPORTER = "openvino_telemetry"
_SWITCH = "ORT_DISABLE_TELEMETRY"


@contextmanager
def switched_off() -> Iterator[None]:
    """Keep the engines that are imported inside from reporting their use.

    OpenVINO and NNCF go without their reporter as if it were not installed, from now on in this
    process: it has no other switch. A program that has imported it before has decided for itself.
    The environment is afterwards what it was.
    """
    modules: dict[str, Any] = sys.modules
    # None is Python's own mark of a module that cannot be imported.
    modules.setdefault(_REPORTER, None)
    before = os.environ.get(_SWITCH)
    # Read when the library is loaded.
    os.environ[_SWITCH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before
