"""examples/inspect.cpp decides as Python does. It needs a compiler and three packages' headers.

They are looked for in /usr/include and /usr/local/include, or where OMNIAL_CPP_INCLUDE says:
Debian's libonnxruntime-dev, nlohmann-json3-dev and libstb-dev. The library is the wheel's own.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnial.data.decode import as_unit, network_input
from omnial.inference.engines import OnnxBackend
from omnial.model_folder.export_folder import read_export
from omnial.models.normality import with_normality
from omnial.models.thresholds import is_anomalous

SAMPLE = Path(__file__).parents[2] / "examples" / "inspect.cpp"
ROOTS = [os.environ.get("OMNIAL_CPP_INCLUDE"), "/usr/include", "/usr/local/include"]
HEADERS = ("onnxruntime/onnxruntime_cxx_api.h", "stb/stb_image.h", "nlohmann/json.hpp")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    roots = [Path(root) for root in ROOTS if root]
    found = [next((r / name for r in roots if (r / name).is_file()), None) for name in HEADERS]
    missing = [name for name, path in zip(HEADERS, found, strict=True) if path is None]
    runtime = pytest.importorskip("onnxruntime")
    libraries = list(Path(runtime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if compiler is None or missing or not libraries:
        pytest.skip(f"not on this machine: a C++ compiler or {', '.join(missing) or 'a library'}")
    folder = tmp_path_factory.mktemp("cpp")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(libraries[0])
    include = [f"-I{path.parent}" for path in found[:2] if path] + [f"-I{root}" for root in roots]
    options = ["-std=c++17", "-O1", *include, f"-L{folder}", f"-Wl,-rpath,{folder}"]
    command = [compiler, *options, str(SAMPLE), "-o", str(folder / "inspect"), "-lonnxruntime"]
    subprocess.run(command, check=True)
    return folder / "inspect"


@pytest.fixture(scope="module", params=["own", "none"])
def line(
    request: pytest.FixtureRequest,
    exports: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The export with other thresholds; also told to be without normality."""
    folder = tmp_path_factory.mktemp("cpp-line") / "line"
    shutil.copytree(exports["onnx"], folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["settings"]["model"]["normality"] = request.param
    # In the midst of the scores: both verdicts occur.
    config["calibration"] |= {"per_class": {"bolt": 0.45, "tile": None}, "pooled": 0.9984}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["bolt", "tile"])
@pytest.mark.parametrize("size", [(96, 64), (231, 170), (50, 40)])
def test_score_and_verdict_are_pythons(
    program: Path, line: Path, exports: dict[str, Path], name: str, size: tuple[int, int],
    tmp_path: Path,
) -> None:  # fmt: skip
    export = read_export(exports["onnx"])
    noise = np.random.default_rng(size[0]).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    frame, _ = network_input(tmp_path / "a.png", export.config.settings.data)
    valid = export.rois.get(name, np.ones(frame.shape[1:], bool))
    engine = OnnxBackend(line / "model.onnx")
    found = engine.run(as_unit(frame)[None], valid[None])
    told = json.loads((line / "config.json").read_text("utf-8"))
    normality = export.normality if told["settings"]["model"]["normality"] == "own" else {}
    expected = with_normality(found, normality, [name], valid[None], "top_mean").scores[0]
    calibration = told["calibration"]
    threshold = calibration["per_class"][name] or calibration["pooled"]

    ended = run(program, line, tmp_path / "a.png", name)

    assert ended.stderr == ""
    verdict, score, limit = re.findall(r"ANOMALOUS|good|\d\.\d+", ended.stdout)
    assert float(score) == pytest.approx(expected, abs=2e-3)
    assert float(limit) == pytest.approx(threshold, abs=1e-6)
    assert verdict == ("ANOMALOUS" if is_anomalous(float(score), threshold) else "good")
    assert ended.returncode == (verdict == "ANOMALOUS")


def test_what_it_does_not_do_is_refused(program: Path, line: Path, tmp_path: Path) -> None:
    Image.new("RGB", (96, 64)).save(tmp_path / "good.png")
    Image.new("RGB", (300, 64)).save(tmp_path / "long.png")
    refused = {
        "geometry=squash": (line, tmp_path / "long.png", "bolt"),
        "does not know": (line, tmp_path / "good.png", "nut"),
        "cannot be read": (line, tmp_path / "none.png", "bolt"),
        "no config.json": (tmp_path, tmp_path / "good.png", "bolt"),
    }
    for reason, arguments in refused.items():
        ended = run(program, *arguments)
        assert (ended.returncode, reason in ended.stderr) == (2, True), ended
