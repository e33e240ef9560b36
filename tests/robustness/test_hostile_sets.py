"""Adversarial sets that someone else made: each is refused by file and reason."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnial.errors import UserError
from omnial.files import file_digest
from omnial.robustness import adversarial_set
from omnial.robustness.adversarial_set import AdversarialSet

Damage = Callable[[Path], None]


def content(alter: Callable[[dict[str, Any]], object]) -> Damage:
    """Another manifest, with the digest that belongs to it."""

    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        values = json.loads(path.read_text("utf-8"))
        values.pop("sha256")
        alter(values)
        values["sha256"] = adversarial_set._digest(values)
        path.write_text(json.dumps(values), "utf-8")

    return damage


def identity(**values: object) -> Damage:
    return content(lambda found: found["identity"].update(values))


def entry(**values: object) -> Damage:
    return content(lambda found: found["classes"][0].update(values))


def class_file(folder: Path) -> Path:
    return sorted(folder.glob("*.safetensors"))[0]


def adopt(folder: Path) -> None:
    """Make the manifest vouch for the first class as it is now."""
    path = class_file(folder)

    def sign(found: dict[str, Any]) -> None:
        for own in found["classes"]:
            if own["name"] == path.stem:
                own["sha256"] = file_digest(path)

    content(sign)(folder)


def header(alter: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        raw = class_file(folder).read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        entries = json.loads(raw[8 : 8 + length])
        alter(entries)
        text = json.dumps(entries).encode()
        class_file(folder).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
        adopt(folder)

    return damage


def nan_trace(folder: Path) -> None:
    raw = bytearray(class_file(folder).read_bytes())
    length = struct.unpack("<Q", raw[:8])[0]
    start = json.loads(raw[8 : 8 + length])["trace.8"]["data_offsets"][0]
    raw[8 + length + start : 12 + length + start] = struct.pack("<f", float("nan"))
    class_file(folder).write_bytes(raw)
    adopt(folder)


def link(folder: Path) -> None:
    path = class_file(folder)
    shutil.move(path, folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")


def pipe(folder: Path) -> None:
    path = class_file(folder)
    path.unlink()
    os.mkfifo(path)


def link_manifest(folder: Path) -> None:
    shutil.move(folder / "manifest.json", folder.parent / "manifest.json")
    (folder / "manifest.json").symlink_to(folder.parent / "manifest.json")


SETS: dict[str, tuple[Damage, str]] = {
    "manifest-link": (link_manifest, "manifest.json: it is a symbolic link"),
    "manifest-terabyte": (
        lambda f: os.truncate(f / "manifest.json", 2**40),
        "manifest.json: it is larger than",
    ),
    "manifest-deep": (
        lambda f: (f / "manifest.json").write_text("[" * 10**5) and None,
        "manifest.json: it",
    ),
    "of-version-9": (identity(schema_version=9), "manifest.json: it was made by another version"),
    "size-enormous": (identity(size=[10**9, 10**9]), "manifest.json: .*identity.size"),
    "size-of-three": (identity(size=[64, 64, 64]), "manifest.json: .*identity.size"),
    "size-is-text": (identity(size="64"), "manifest.json: .*identity.size"),
    "steps-enormous": (identity(steps=10**12), "manifest.json: .*identity.steps"),
    "levels-none": (identity(levels=[]), "manifest.json: .*levels"),
    "level-unbounded": (
        identity(levels=[{"name": "8", "grey_levels": 1e9, "targeted": False}]),
        "manifest.json: .*grey_levels",
    ),
    "level-of-others": (
        identity(levels=[{"name": "8", "__class__": 1}]),
        "manifest.json: .*levels",
    ),
    "key-unknown": (identity(surplus=1), "manifest.json: .*identity.surplus"),
    "class-in-parent": (entry(name="../x"), "manifest.json: .*name of a class"),
    "class-of-another-set": (entry(name="nut"), "manifest.json: .*planned"),
    "samples-too-few": (identity(samples=3), "manifest.json: .*3 samples"),
    "class-link": (link, ".safetensors: it is a symbolic link"),
    "class-pipe": (pipe, ".safetensors: it is a pipe"),
    "class-claims": (
        header(lambda found: found["flags"].update(shape=[2**62, 2**62])),
        ".safetensors: it is no safetensors file",
    ),
    "class-lacks": (
        header(lambda found: found.update(other=found.pop("flags"))),
        ".safetensors: it lacks the tensor 'flags'",
    ),
    "class-nan": (nan_trace, ".safetensors: a loss in it is NaN"),
}


def read_all(folder: Path) -> None:
    found = AdversarialSet(folder)
    for name in found.classes:
        list(found.batches(name, 1))
    found.checks()


def test_the_set_that_the_others_are_made_from_is_good(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    header(lambda found: None)(folder)
    read_all(folder)


@pytest.mark.parametrize("name", SETS)
def test_refused(made: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    damage, expected = SETS[name]
    damage(folder)
    with pytest.raises(UserError) as refused:
        read_all(folder)
    message = str(refused.value)
    assert re.search(expected, message), message
    assert "omnial attack" in message
