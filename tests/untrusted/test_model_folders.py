"""Model folders that someone else made: each is refused, by file and reason, in bounded memory."""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from omnial.cli import app
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.config_file import SCHEMA_VERSION
from omnial.models.recogniser import FEATURES

Damage = Callable[[Path], None]
MEBIBYTE = 2**20
BROKEN = "model.safetensors: it is no safetensors"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def change(path: str, value: object) -> Damage:
    """Set one value of the configuration, by its keys."""

    def damage(folder: Path) -> None:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        *keys, last = path.split(".")
        inner = config
        for key in keys:
            inner = inner[key]
        inner[last] = value
        (folder / CONFIG).write_text(json.dumps(config))

    return damage


def text(content: str | bytes) -> Damage:
    """Another configuration."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: void((folder / CONFIG).write_bytes(data))


def insert(content: str) -> Damage:
    """Something more at the beginning of the configuration's object."""

    def damage(folder: Path) -> None:
        whole = (folder / CONFIG).read_text()
        (folder / CONFIG).write_text("{" + content + "," + whole.lstrip()[1:])

    return damage


def void(_: object) -> None:
    return None


def link(name: str) -> Damage:
    """The same file behind a symbolic link."""

    def damage(folder: Path) -> None:
        shutil.move(folder / name, folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return damage


def link_to(name: str, target: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return damage


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    """Something else by the name of a file."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


def sparse(name: str, size: int) -> Damage:
    """A file that claims a size and takes no disk."""
    return lambda folder: os.truncate(folder / name, size)


def adopt(folder: Path) -> None:
    """Make the configuration vouch for whatever the weights are now, as an attacker would."""
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    change("weights_sha256", digest)(folder)


def tensors(alter: Callable[[dict[str, Tensor]], object]) -> Damage:
    """Other weights, in a well-formed file."""

    def damage(folder: Path) -> None:
        found = safetensors.torch.load_file(folder / WEIGHTS)
        alter(found)
        safetensors.torch.save_file(found, folder / WEIGHTS)
        adopt(folder)

    return damage


def header(
    alter: Callable[[dict[str, Any]], object], data: Callable[[bytes], bytes] = bytes
) -> Damage:
    """Another header, or other data behind it."""

    def damage(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        entries = json.loads(content[8 : 8 + length])
        alter(entries)
        raw = json.dumps(entries).encode()
        rest = data(content[8 + length :])
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(raw)) + raw + rest)
        adopt(folder)

    return damage


def raw_header(raw: bytes, length: int | None = None) -> Damage:
    def damage(folder: Path) -> None:
        size = len(raw) if length is None else length
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", size) + raw)
        adopt(folder)

    return damage


def kernel(found: dict[str, Any]) -> str:
    return next(name for name in sorted(found) if name.endswith("weight"))


def put(found: dict[str, Tensor], ending: str, value: float) -> None:
    name = next(name for name in sorted(found) if name.endswith(ending))
    found[name].view(-1)[-1] = value


def count(found: dict[str, Tensor], *more: int) -> None:
    """Other numbers of each product's examples."""
    found["recogniser.counts"] += torch.tensor(more)


def rows(name: str, number: int) -> Damage:
    """So many examples, of the products or of nothing."""
    return tensors(lambda t: t.update({f"recogniser.{name}": torch.zeros(number, FEATURES)}))


def flip_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def first(entries: dict[str, Any]) -> dict[str, Any]:
    """The entry at the beginning of the data."""
    own = [entry for name, entry in entries.items() if name != "__metadata__"]
    return min((e for e in own if e["data_offsets"][1]), key=lambda e: e["data_offsets"])


def claim_terabyte(folder: Path) -> None:
    entries = {"network.w": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    raw = json.dumps(entries).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(raw)) + raw)
    os.truncate(folder / WEIGHTS, 8 + len(raw) + 2**40)


def wide(folder: Path) -> None:
    """A file of a few megabytes whose network needs 32 GiB for one feature map."""
    for path, value in (
        ("settings.data.height", 4096),
        ("settings.data.width", 4096),
        ("settings.model.stem", 1),
        ("settings.model.localization.widths", [512, 1, 1]),
    ):
        change(path, value)(folder)


def mask_of_sevens(data: bytes) -> bytes:
    # The region is the only tensor of bytes, and the library puts the smallest type last.
    return data[:-1] + b"\x07"


FOLDERS: dict[str, tuple[Damage, str]] = {
    # the configuration as a file
    "config-missing": (lambda f: (f / CONFIG).unlink(), "has no file config.json"),
    "config-link": (link(CONFIG), "config.json: it is a symbolic link"),
    "config-link-to-device": (link_to(CONFIG, "/dev/zero"), "config.json: it is a symbolic link"),
    "config-pipe": (instead(CONFIG, os.mkfifo), "config.json: it is a pipe"),
    "config-folder": (instead(CONFIG, os.mkdir), "config.json: it is a folder"),
    "config-terabyte": (sparse(CONFIG, 2**40), "config.json: it is larger than"),
    "config-list": (text("[1]"), "config.json: it does not hold an object"),
    "config-cut": (text("{"), "config.json: it is not valid JSON"),
    "config-empty": (text(""), "config.json: it is not valid JSON"),
    "config-not-utf8": (text(b"\xff\xfe{}"), "config.json: it is not valid JSON"),
    "config-deep": (text("[" * 10**6), "config.json: it"),
    "config-deep-enough": (text("[" * 40 + "]" * 40), "config.json: it is nested deeper"),
    "config-million-lists": (text("[" + "[]," * 2**21 + "0]"), "config.json: it holds more than"),
    "config-key-twice": (insert('"classes": ["bolt"]'), "config.json: it has the key 'classes'"),
    "config-nan": (change("calibration.pooled", float("nan")), "config.json: .*NaN is not"),
    "config-1e999": (insert('"surplus": 1e999'), "config.json: it holds a number beyond"),
    "config-5000-digits": (insert('"surplus": ' + "9" * 5000), "config.json: it holds a whole"),
    "config-surrogate": (insert('"surplus": "\\ud800"'), "config.json: .*not Unicode"),
    # what the configuration says
    "version-1": (change("schema_version", 1), "config.json: it was made by another version"),
    "version-99": (change("schema_version", 99), "made by another version of omnial"),
    "version-text": (change("schema_version", str(SCHEMA_VERSION)), "made by another version"),
    "version-real": (change("schema_version", float(SCHEMA_VERSION)), "made by another version"),
    "class-parent": (
        change("classes", ["bolt", ".."]),
        r"json: classes: '\.\.' cannot be the name",
    ),
    "class-path": (change("classes", ["bolt", "../../etc/cron.d/x"]), "config.json: .*name of a"),
    "class-escape": (
        change("classes", ["bolt", "\x1b[2J"]),
        r"config.json: classes: '\\x1b\[2J' cannot",
    ),
    "class-endless": (change("classes", ["bolt", "a" * 10**6]), "config.json: .*name of a class"),
    "system-escape": (change("settings.system", "\x1b]0;x"), "config.json: .*system"),
    "widths-enormous": (change("settings.model.reconstruction.widths", [2**40] * 3), "widths"),
    "widths-too-many": (change("settings.model.localization.widths", [4] * 10**4), "widths"),
    "dilation-enormous": (change("settings.model.localization.dilation", 10**9), "dilation"),
    "feature-map-32-gigabytes": (wide, "config.json: .*feature map"),
    "images-unbounded": (change("settings.data.max_megapixels", 1e12), "max_megapixels"),
    "10000-unknown-settings": (
        change("settings", {f"k{n}": n for n in range(10_000)}),
        "config.json: its settings have more than",
    ),
    "digest-is-a-path": (change("weights_sha256", "../../../etc/passwd"), "config.json: weights_s"),
    "thresholds-of-others": (change("calibration.per_class", {"nut": 0.1}), "config.json: "),
    "threshold-is-text": (change("calibration.pooled", "0.1"), "config.json: calibration.pooled"),
    "counts-lie": (change("calibration.counts.bolt", 2**62), "config.json: .*the stored scores"),
    "trained-number": (change("trained_files", 8), "config.json: trained_files: not a text"),
    "trained-no-base64": (change("trained_files", "\u00e9*"), "config.json: "),
    "trained-half-a-digest": (
        change("trained_files", "AAAA"),
        "config.json: trained_files: not the",
    ),
    "trained-twice": (change("trained_files", "A" * 64), "config.json: .*do not rise"),
    "trained-many": (
        change("trained_files", "A" * 4 * (2**23 // 3 + 3)),
        "config.json: trained_files: not the digests of at most",
    ),
    # the weights as a file
    "weights-missing": (lambda f: (f / WEIGHTS).unlink(), "has no file model.safetensors"),
    "weights-link": (link(WEIGHTS), "model.safetensors: it is a symbolic link"),
    "weights-dangling": (link_to(WEIGHTS, "nowhere"), "model.safetensors: it is a symbolic link"),
    "weights-pipe": (instead(WEIGHTS, os.mkfifo), "model.safetensors: it is a pipe"),
    "weights-folder": (instead(WEIGHTS, os.mkdir), "model.safetensors: it is a folder"),
    "weights-empty": (raw_header(b"", 0), "model.safetensors: it is no safetensors"),
    "weights-of-no-bytes": (sparse(WEIGHTS, 0), BROKEN),
    "weights-cut-in-the-length": (sparse(WEIGHTS, 5), BROKEN),
    "weights-cut-in-the-header": (sparse(WEIGHTS, 200), BROKEN),
    "weights-bit-flipped": (flip_bit, "model.safetensors: .*the weights are damaged"),
    "weights-pickled": (
        lambda f: (torch.save({"a": torch.zeros(2)}, f / WEIGHTS), adopt(f))[1],
        "model.safetensors: it is no safetensors",
    ),
    "weights-terabyte": (claim_terabyte, "model.safetensors: it is larger than"),
    # their header
    "header-2-to-63": (raw_header(b"{}", 2**63), BROKEN),
    "header-of-zeros": (raw_header(b"\0" * 64), BROKEN),
    "header-list": (raw_header(b"[1]     "), BROKEN),
    "header-name-twice": (
        raw_header(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1}'),
        BROKEN,
    ),
    "header-9000-tensors": (
        header(
            lambda e: e.update(
                {
                    f"t{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
                    for n in range(9_000)
                }
            )
        ),
        "model.safetensors: it holds 9,",
    ),
    "header-overflow": (
        header(lambda e: first(e).update(shape=[2**62, 2**62, 4])),
        BROKEN,
    ),
    "header-terabytes": (
        header(lambda e: first(e).update(shape=[2**40], data_offsets=[0, 2**42])),
        BROKEN,
    ),
    "header-end-beyond-64-bits": (
        header(lambda e: first(e).update(shape=[1], data_offsets=[0, 2**63])),
        BROKEN,
    ),
    "header-negative": (
        header(lambda e: first(e).update(shape=[-1, -4])),
        BROKEN,
    ),
    "header-fraction": (
        header(lambda e: first(e).update(shape=[1.5])),
        BROKEN,
    ),
    "header-true": (
        header(lambda e: first(e).update(shape=[True])),
        BROKEN,
    ),
    "header-dimensions": (
        header(lambda e: first(e).update(shape=[1] * 10**4)),
        "model.safetensors: it",
    ),
    "header-unknown-type": (
        header(lambda e: first(e).update(dtype="F1024")),
        BROKEN,
    ),
    "header-object-type": (
        header(lambda e: first(e).update(dtype={})),
        BROKEN,
    ),
    "header-backwards": (
        header(lambda e: first(e).update(data_offsets=[8, 0])),
        BROKEN,
    ),
    "header-two-in-one-place": (
        header(lambda e: e.update(twin=dict(first(e)))),
        BROKEN,
    ),
    "data-behind-the-end": (
        header(lambda e: None, lambda data: data + b"#!/bin/sh"),
        BROKEN,
    ),
    "data-cut": (
        header(lambda e: None, lambda data: data[:-8]),
        BROKEN,
    ),
    # what they hold
    "tensor-missing": (tensors(lambda t: t.pop(kernel(t))), "lacks the tensor"),
    "tensor-surplus": (tensors(lambda t: t.update(x=torch.zeros(1))), "unexpected tensor 'x'"),
    "tensor-larger": (
        tensors(lambda t: t.update({kernel(t): torch.zeros(512, 512)})),
        "model.safetensors: its tensor .* not F32",
    ),
    "tensor-doubles": (
        tensors(lambda t: t.update({kernel(t): t[kernel(t)].double()})),
        "model.safetensors: its tensor .* is F64",
    ),
    "features-of-another-network": (
        tensors(
            lambda t: t.update(
                {"recogniser.examples": torch.zeros(2, 9), "recogniser.scale": torch.ones(9)}
            )
        ),
        r"model.safetensors: its tensor 'recogniser.examples' is F32 \[2, 9\], not F32 \[2, 97\]",
    ),
    "examples-too-many": (rows("examples", 201), r"not F32 \[200, 97\]"),
    "examples-of-nothing-too-many": (rows("nothing", 101), r"not F32 \[100, 97\]"),
    "examples-scalar": (
        tensors(lambda t: t.update({"recogniser.examples": torch.tensor(3.0)})),
        "not F32",
    ),
    "examples-infinite": (
        tensors(lambda t: put(t, "recogniser.examples", float("inf"))),
        "holds NaN or infinity",
    ),
    "counts-do-not-fit": (tensors(lambda t: count(t, 1, 0)), "do not fit"),
    "counts-negative": (tensors(lambda t: count(t, -9, 9)), "1 to 100 examples"),
    "scale-missing": (
        tensors(lambda t: t.pop("recogniser.scale")),
        "lacks the tensor 'recogniser.scale'",
    ),
    "scale-scalar": (
        tensors(lambda t: t.update({"recogniser.scale": torch.tensor(1.0)})),
        "not F32",
    ),
    "weight-nan": (tensors(lambda t: put(t, "weight", float("nan"))), "holds NaN or infinity"),
    "weight-infinite": (tensors(lambda t: put(t, "bias", float("-inf"))), "holds NaN or infinity"),
    "variance-negative": (tensors(lambda t: put(t, "running_var", -1.0)), "negative variance"),
    "scale-zero": (tensors(lambda t: put(t, "recogniser.scale", 0.0)), "must be positive"),
    "region-of-sevens": (header(lambda e: None, mask_of_sevens), "other values than 0 and 1"),
    "region-turned": (
        tensors(lambda t: t.update({"roi.tile": t["roi.tile"].T.contiguous()})),
        r"model.safetensors: its tensor 'roi.tile' is BOOL \[64, 32\], not BOOL",
    ),
    "region-of-numbers": (
        tensors(lambda t: t.update({"roi.tile": t["roi.tile"].float()})),
        "model.safetensors: its tensor 'roi.tile' is F32 .*, not BOOL",
    ),
    "region-of-others": (
        tensors(lambda t: t.update({"roi.../x": torch.ones(32, 64, dtype=torch.bool)})),
        "unexpected tensor 'roi.../x'",
    ),
}


def message_of(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        Inspector(folder, device="cpu")
    return str(refused.value)


def test_the_folder_that_the_others_are_made_from_is_good(folder: Path) -> None:
    tensors(lambda t: put(t, "weight", 1.0))(folder)
    header(lambda e: None)(folder)
    change("training.more", 1)(folder)
    assert Inspector(folder, device="cpu").classes == ("bolt", "tile")


@pytest.mark.parametrize("name", FOLDERS)
def test_refused_by_file_and_reason_in_little_memory(folder: Path, name: str) -> None:
    damage, expected = FOLDERS[name]
    damage(folder)
    tracemalloc.start()
    try:
        message = message_of(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 160 * MEBIBYTE  # ten times the largest JSON that is read
    assert re.search(expected, message), message
    assert str(folder) in message
    assert "omnial train --out" in message  # the remedy
    assert len(message) < 2500
    assert all(character.isprintable() or character == "\n" for character in message)


LIMITED = """
import resource, sys
from pathlib import Path
from omnial.errors import UserError
from omnial.model_folder.weights_file import load_model
load_model(Path(sys.argv[1]), "cpu")
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 256 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[2:]:
    try:
        load_model(Path(name), "cpu")
    except UserError as error:
        print(type(error).__name__)
"""
GREEDY = (
    *("config-terabyte", "config-million-lists", "widths-enormous", "feature-map-32-gigabytes"),
    *("weights-terabyte", "header-2-to-63", "header-overflow", "header-9000-tensors"),
)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits are set as on Linux")
def test_the_greediest_are_refused_where_memory_is_scarce(valid: Path, tmp_path: Path) -> None:
    """256 MiB of address space are left when they are opened, PyTorch's allocations included."""
    for name in GREEDY:
        FOLDERS[name][0](Path(shutil.copytree(valid, tmp_path / name)))
    command = [sys.executable, "-c", LIMITED, str(valid), *(str(tmp_path / n) for n in GREEDY)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["UserError"] * len(GREEDY)


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        *(("predict", name) for name in ("weights-pipe", "weight-nan", "version-1")),
        *((v, "weight-nan") for v in ("evaluate", "export", "calibrate")),
        *((v, "class-escape") for v in ("predict", "evaluate", "info", "export", "calibrate")),
    ],
)
def test_every_verb_refuses(folder: Path, tmp_path: Path, verb: str, name: str) -> None:
    FOLDERS[name][0](folder)
    data, out = tmp_path / "data", tmp_path / "out"
    for kind in ("train", "test"):
        (data / "bolt" / kind / "good").mkdir(parents=True)
        pixels = np.zeros((32, 64, 3), np.uint8)
        Image.fromarray(pixels).save(data / "bolt" / kind / "good" / "0.png")
    options = {
        "predict": [data / "bolt/test/good/0.png", "--out", out],
        "evaluate": ["--data", data, "--out", out],
        "info": [],
        "export": ["--format", "onnx", "--out", out],
        "calibrate": ["--data", data, "--out", out],
    }
    ended = CliRunner().invoke(app, [verb, str(folder), *map(str, options[verb])])
    assert ended.exit_code == 2, ended.output
    assert "not a usable model folder" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "\x1b[2J" not in ended.stderr
    assert not out.exists()
