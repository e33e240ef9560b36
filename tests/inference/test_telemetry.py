"""Neither exporting nor inspecting calls anybody, although three packages would."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# In a process of its own: NNCF reports nothing where pytest is loaded, nor anywhere in CI.
EXPORT = """
import sys
asked = []
def note(event, arguments):
    # The reporter of OpenVINO and NNCF asks from a process that it forks.
    if event in ("os.fork", "socket.getaddrinfo", "socket.connect", "urllib.Request"):
        asked.append(event)
sys.addaudithook(note)

import os
from pathlib import Path
import numpy as np
from omnial.export.build import build
from omnial.inference.engines import OnnxBackend

source = Path(sys.argv[1])
images = [np.full((3, 16, 16), level, np.float32) for level in (0.25, 0.75)]
build(source, "openvino", "int8", source.parent, images=images)
OnnxBackend(source)
import nncf, onnxruntime, openvino

assert "ORT_DISABLE_TELEMETRY" not in os.environ
assert sys.modules["openvino_telemetry"] is None
from nncf.telemetry import telemetry
telemetry.end_session("nncf")
sys.exit(f"asked the network: {asked}" if asked else 0)
"""


def write_network(path: Path) -> None:
    """A convolution with the inputs that every exported network has."""
    kernel = np.ones((4, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["valid"], ["mask"], to=TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 16]),
        helper.make_tensor_value_info("valid", TensorProto.BOOL, [1, 16, 16]),
    ]
    outputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 4, 16, 16]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 16, 16]),
    ]
    graph = helper.make_graph(
        nodes, "network", inputs, outputs, [numpy_helper.from_array(kernel, "kernel")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def test_exporting_and_inspecting_asks_nothing_of_the_network(tmp_path: Path) -> None:
    network, home = tmp_path / "network.onnx", tmp_path / "home"
    write_network(network)
    home.mkdir()
    quiet = ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV", "ORT_DISABLE_TELEMETRY")
    environment = {key: value for key, value in os.environ.items() if key not in quiet}

    ended = subprocess.run(
        [sys.executable, "-c", EXPORT, str(network)],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    # The reporter of OpenVINO and NNCF keeps a number for each user in the home folder.
    left = {path.name for path in home.iterdir()} - {".cache", ".config"}
    assert left == set()
