"""The line computer has no PyTorch: everything that runs there works where importing it fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from omnial.model_folder.export_folder import Format

BLOCK = """
import sys
ABSENT = {"torch", "lightning_fabric", "tensorboard", "onnx", "nncf", "onnxscript"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
INSPECT = """
import json
import omnial
from pathlib import Path
inspector = omnial.Inspector(sys.argv[1])
inspector.warm_up()
found = inspector.inspect(Path(sys.argv[2]))
print(json.dumps([found.class_name, found.score, found.score_map.shape]))
"""
VERB = "from omnial.cli import main; sys.argv[0] = 'omnial'; main()"
VERBS = """
import contextlib, io, json
from omnial.cli import main
ended = []
for command in json.loads(sys.argv[1]):
    sys.argv[:] = ["omnial", *command]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            main()
        except SystemExit as end:
            ended.append([end.code, printed.getvalue()])
print(json.dumps(ended))
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_inspecting(exports: dict[Format, Path], data: Path, name: Format) -> None:
    ended = run(INSPECT, exports[name], data / "bolt/test/good/000.png")
    assert ended.returncode == 0, ended.stderr
    class_name, score, shape = json.loads(ended.stdout)
    assert class_name == "bolt"
    assert 0 <= score <= 1
    assert shape == [64, 96]


def test_the_verbs_of_the_line(
    exports: dict[Format, Path], model_dir: Path, data: Path, tmp_path: Path
) -> None:
    folder, out = exports["openvino"], tmp_path / "out"
    commands = [
        ("verify", folder, "--json"),
        ("predict", folder, data / "tile/test", "--out", out, "--json"),
        ("calibrate", folder, "--data", data, "--out", tmp_path / "c", "--json"),
    ]
    # In one process, whose start takes longer than they do.
    ended = run(VERBS, json.dumps(commands, default=str))
    assert ended.returncode == 0, ended.stderr
    codes, texts = zip(*json.loads(ended.stdout), strict=True)
    assert codes == (0, 0, 0), ended.stderr
    verified, predicted, _ = map(json.loads, texts)
    assert verified["passed"]
    assert predicted["images"] == 4
    refused = run(VERB, "predict", model_dir, data / "tile/test", "--out", out)
    assert refused.returncode == 2
    assert "PyTorch" in refused.stderr
