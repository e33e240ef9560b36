"""Inference says nothing about itself over the network.

OpenVINO's converter and NNCF report their use through the package `openvino-telemetry`, unless its
user has opted out; ONNX Runtime reports through code of its own.
"""

import os
import sys
from typing import Any

_REPORTER = "openvino_telemetry"


def switch_off() -> None:
    """Keep the engines that are imported afterwards in this process from reporting their use.

    OpenVINO and NNCF go without their reporter as if it were not installed; it has no switch for
    one process. A program that has imported it before has decided for itself.
    """
    # Read when the library is loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    modules: dict[str, Any] = sys.modules
    # None is Python's own mark of a module that cannot be imported.
    modules.setdefault(_REPORTER, None)
