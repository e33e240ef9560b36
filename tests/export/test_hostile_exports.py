"""Export folders that someone else made: each is refused before an engine sees it."""

import json
import os
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from omnial.cli import app
from omnial.errors import RunError, UserError
from omnial.files import file_digest
from omnial.inference.inspector import Inspector
from omnial.inference.verify import verify
from omnial.model_folder.export_folder import Format

Damage = Callable[[Path], None]
Arrays = dict[str, NDArray[Any]]


def adopt(folder: Path) -> None:
    """Make the record vouch for whatever the files are now, as an attacker would."""
    record = json.loads((folder / "export.json").read_text())
    record["files"] = {name: file_digest(folder / name) for name in record["files"]}
    (folder / "export.json").write_text(json.dumps(record))


def record(**values: object) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "export.json").read_text())
        (folder / "export.json").write_text(json.dumps({**content, **values}))

    return damage


def network(alter: Callable[[onnx.ModelProto], object]) -> Damage:
    def damage(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        alter(model)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        adopt(folder)

    return damage


def outside(location: str) -> Damage:
    """The largest weight lies in another file, of which the secret is the beginning."""

    def damage(folder: Path) -> None:
        secret = folder.parent / "secret"
        secret.write_bytes(b"\0" * 2**20)
        if location == "link.bin":
            (folder / location).symlink_to(secret)

        def move(model: onnx.ModelProto) -> None:
            largest = max(model.graph.initializer, key=lambda weight: len(weight.raw_data))
            length = len(largest.raw_data)
            largest.ClearField("raw_data")
            largest.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
                largest.external_data.add(key=key, value=value)

        network(move)(folder)

    return damage


def operator(kind: str, domain: str = "") -> Damage:
    node = helper.make_node(kind, ["images"], ["surplus"], domain=domain)
    return network(lambda model: model.graph.node.append(node))


def arrays(name: str, alter: Callable[[Arrays], object]) -> Damage:
    def damage(folder: Path) -> None:
        found: Arrays = load_file(folder / name)
        alter(found)
        save_file(found, folder / name)
        adopt(folder)

    return damage


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[1].name = model.graph.node[-1].output[0] = "verdict"


def shrink_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 32


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


def link(name: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.move(folder / name, folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return damage


def text(name: str, content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)
        adopt(folder)

    return damage


ARRAYS, SAMPLES = "arrays.safetensors", "samples.safetensors"
ONNX: dict[str, tuple[Damage, str]] = {
    "record-link": (link("export.json"), "export.json: it is a symbolic link"),
    "record-pipe": (instead("export.json", os.mkfifo), "export.json: it is a pipe"),
    "record-folder": (instead("export.json", os.mkdir), "export.json: it is a folder"),
    "record-terabyte": (lambda f: os.truncate(f / "export.json", 2**40), "export.json: it is larg"),
    "record-of-version-9": (
        record(export_version=9),
        "export.json: it was made by another version",
    ),
    "record-names-others": (record(files={"../x": "0" * 64}), "export.json has digests of other"),
    "record-nan": (record(created=float("nan")), "export.json: .*NaN is not a number"),
    "version-1": (
        lambda f: (f / "config.json").write_text('{"schema_version": 1}') and None,
        "config.json: it was made by another version",
    ),
    "network-link": (link("model.onnx"), "model.onnx: it is a symbolic link"),
    "network-pipe": (instead("model.onnx", os.mkfifo), "model.onnx: it is a pipe"),
    "network-terabyte": (
        lambda f: os.truncate(f / "model.onnx", 2**40),
        "model.onnx: it is larger",
    ),
    "network-empty": (text("model.onnx", b""), "model.onnx cannot be loaded"),
    "network-text": (text("model.onnx", b"#!/bin/sh\n"), "model.onnx cannot be loaded"),
    "weights-in-parent": (outside("../secret"), "model.onnx cannot be loaded"),
    "weights-in-root": (outside("/etc/passwd"), "model.onnx cannot be loaded"),
    "weights-behind-link": (outside("link.bin"), "link.bin: it is a symbolic link"),
    "operator-foreign": (operator("Run", "evil.ops"), "model.onnx cannot be loaded"),
    "output-renamed": (network(rename_output), "model.onnx"),
    "input-of-another-size": (network(shrink_input), "model.onnx"),
    "arrays-link": (link(ARRAYS), "arrays.safetensors: it is a symbolic link"),
    "arrays-missing": (lambda f: (f / ARRAYS).unlink(), "has no file arrays.safetensors"),
    "arrays-of-another-network": (
        arrays(ARRAYS, lambda a: a.update({"recogniser.scale": np.ones(7, np.float32)})),
        "arrays.safetensors: its tensor 'recogniser.scale' is",
    ),
    "arrays-nan": (
        arrays(ARRAYS, lambda a: a["recogniser.radius"].fill(np.nan)),
        "arrays.safetensors: .*finite",
    ),
    "arrays-surplus": (
        arrays(ARRAYS, lambda a: a.update({"roi.../x": np.ones((64, 96), bool)})),
        "arrays.safetensors: it has the unexpected tensor 'roi.../x'",
    ),
}
SAMPLED: dict[str, tuple[Damage, str]] = {
    "samples-link": (link(SAMPLES), "samples.safetensors: it is a symbolic link"),
    "samples-none": (
        arrays(SAMPLES, lambda a: a.update({k: v[:0].copy() for k, v in a.items()})),
        "samples.safetensors: it holds 0 images",
    ),
    "samples-surplus": (
        arrays(SAMPLES, lambda a: a.update(more=np.zeros(1))),
        "samples.safetensors: it holds 5 tensors",
    ),
    "samples-of-another-size": (
        arrays(SAMPLES, lambda a: a.update(valid=a["valid"][:, :9].copy())),
        "samples.safetensors: its tensor 'valid'",
    ),
    "samples-nan": (
        arrays(SAMPLES, lambda a: a["score"].fill(np.nan)),
        "samples.safetensors: it holds NaN or infinity",
    ),
}
OPENVINO: dict[str, tuple[Damage, str]] = {
    "plan-link": (link("model.xml"), "model.xml: it is a symbolic link"),
    "plan-terabyte": (lambda f: os.truncate(f / "model.xml", 2**40), "model.xml: it is larger"),
    "plan-text": (text("model.xml", b"hello"), "model.xml cannot be loaded by OpenVINO"),
    "plan-billion-laughs": (
        text(
            "model.xml",
            b'<!DOCTYPE net [<!ENTITY a "ha">'
            + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(12))
            + b']><net name="&m;" version="11"><layers/><edges/></net>',
        ),
        "model.xml",
    ),
    "weights-cut": (
        lambda f: (os.truncate(f / "model.bin", 100), adopt(f))[1],
        "model.xml cannot be loaded by OpenVINO",
    ),
    "weights-pipe": (instead("model.bin", os.mkfifo), "model.bin: it is a pipe"),
}


def refused(folder: Path, damage: Damage, expected: str, use: Callable[[Path], object]) -> None:
    damage(folder)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as found:
            use(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(found.value)
    assert peak < 32 * 2**20
    assert re.search(expected, message), message
    assert str(folder) in message


@pytest.mark.parametrize("name", ONNX)
def test_onnx_folders(exports: dict[Format, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "export"))
    refused(folder, *ONNX[name], Inspector)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd"])
def test_openvino_refuses_weights_of_an_onnx_file_outside_of_its_folder(
    exports: dict[Format, Path], tmp_path: Path, location: str
) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "export"))
    refused(
        *(folder, outside(location), "model.onnx cannot be loaded by OpenVINO"),
        lambda name: Inspector(name, backend="openvino"),
    )


@pytest.mark.parametrize("name", SAMPLED)
def test_samples(exports: dict[Format, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "export"))
    refused(folder, *SAMPLED[name], verify)


@pytest.mark.parametrize("name", OPENVINO)
def test_openvino_folders(exports: dict[Format, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(exports["openvino"], tmp_path / "export"))
    refused(folder, *OPENVINO[name], Inspector)


@pytest.mark.parametrize("verb", ["predict", "evaluate", "verify"])
def test_verbs(exports: dict[Format, Path], data: Path, tmp_path: Path, verb: str) -> None:
    folder, out = Path(shutil.copytree(exports["onnx"], tmp_path / "export")), tmp_path / "out"
    outside("../secret")(folder)
    options: dict[str, list[object]] = {
        "predict": [data / "bolt/test/good", "--out", out],
        "evaluate": ["--data", data, "--out", out],
        "verify": [],
    }
    ended = CliRunner().invoke(app, [verb, str(folder), *map(str, options[verb])])
    assert ended.exit_code == 2, ended.output
    assert "model.onnx cannot be loaded" in ended.stderr
    assert not out.exists()


def test_scores_that_are_no_numbers_are_never_a_good_verdict(
    exports: dict[Format, Path], data: Path, tmp_path: Path
) -> None:
    """Well-formed, and a division of nothing by nothing: NaN lies above no threshold."""
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "export"))

    def poison(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["clean" if name == "score" else name for name in node.output]
            node.input[:] = ["clean" if name == "score" else name for name in node.input]
        zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
        model.graph.initializer.append(zero)
        model.graph.node.append(helper.make_node("Mul", ["clean", "zero"], ["nothing"]))
        model.graph.node.append(helper.make_node("Div", ["nothing", "zero"], ["score"]))

    network(poison)(folder)
    with pytest.raises(RunError, match="not finite"):
        Inspector(folder).inspect(data / "bolt/test/good/000.png")
