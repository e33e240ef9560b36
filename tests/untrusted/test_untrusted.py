"""The room itself: what it accepts is what the libraries accept, and less."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from omnial.untrusted import (
    Form,
    UntrustedError,
    inside,
    is_plain_name,
    open_regular,
    parse_json,
    plain,
    quoted,
    read_bytes,
    read_forms,
)

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8"), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(VALUES)
def test_json_that_was_written_is_read_as_it_was(value: object) -> None:
    try:
        content = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert parse_json(content) == json.loads(content)


@pytest.mark.parametrize("depth", [1, 32, 33])
def test_nesting(depth: int) -> None:
    content = b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1)
    if depth <= 32:
        assert parse_json(content) == json.loads(content)
    else:
        with pytest.raises(UntrustedError, match="deeper than 32"):
            parse_json(content)


@pytest.mark.parametrize("number", ["9223372036854775807", "-9223372036854775808", "1e308", "-0.0"])
def test_the_largest_numbers(number: str) -> None:
    assert parse_json(number.encode()) == json.loads(number)


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "-9223372036854775809", "1" + "0" * 99, "1e309", "-Infinity"]
)
def test_numbers_beyond(number: str) -> None:
    with pytest.raises(UntrustedError, match=r"beyond|not a number"):
        parse_json(number.encode())


def test_files_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    for name, reason in (("link", "symbolic"), ("pipe", "pipe"), (".", "folder")):
        with pytest.raises(UntrustedError, match=reason):
            read_bytes(tmp_path / name, 5)
    with pytest.raises(UntrustedError, match="a device"):
        read_bytes(Path("/dev/zero"), 5)
    with pytest.raises(UntrustedError, match="larger than 4 bytes"):
        read_bytes(tmp_path / "file", 4)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nothing", 4)


def test_a_link_put_there_after_the_check_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("file")
    monkeypatch.setattr("omnial.untrusted.check_regular", lambda path, most: 0)
    with pytest.raises(OSError, match="symbolic links"), open_regular(tmp_path / "link"):
        pass


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../x", "a//x", "./a", "a/", "", ".", "a\\x", "a\0", "link/x"]
)
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link").symlink_to(tmp_path)
    assert inside(tmp_path / "set", "a/b.bin") == tmp_path / "set/a/b.bin"
    with pytest.raises(UntrustedError, match=r"outside|symbolic link"):
        inside(tmp_path / "set", name)


def test_plain_names() -> None:
    assert all(map(is_plain_name, ("bolt", "Große Schraube", "螺栓", "a.b c:d", "..a", "x" * 255)))
    assert not any(map(is_plain_name, ("", ".", "..", "a/b", "a\nb", "\x7f", "\ud800", "x" * 256)))


def test_what_a_message_shows() -> None:
    assert quoted("\x1b[2J") == repr("\x1b[2J")
    assert len(quoted("a" * 10**6)) < 90
    assert plain("a\x1bb\nc") == "a\ufffdb\nc"
    assert len(plain("a" * 10**6)) < 1010


ARRAYS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=5).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(
        st.sampled_from(["<f4", "<f8", "<f2", "u1", "<i8", "?", "<u2"]),
        st.lists(st.integers(0, 4), max_size=4),
    ),
    max_size=5,
)


@settings(deadline=None)
@given(ARRAYS)
def test_every_file_of_the_library_is_read(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, tuple[str, list[int]]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    save_file({name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted.items()}, path)
    assert read_forms(path, 5) == forms_of_the_library(path)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_what_is_read_is_never_more_than_the_library_reads(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """One number of a valid header is changed: who accepts it must agree with the library."""
    entries: dict[str, Any] = {
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "U8", "shape": [8], "data_offsets": [24, 32]},
        "c": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
    }
    entry = entries[data.draw(st.sampled_from("abc"))]
    part = data.draw(st.sampled_from(["shape", "data_offsets", "dtype"]))
    if part == "dtype":
        entry[part] = data.draw(st.sampled_from(["F32", "F64", "U8", "I8", "F8_E4M3", "x"]))
    else:
        size = st.integers(0, 48) | st.sampled_from([2**31, 2**62, 2**63, 2**64 - 1])
        entry[part] = data.draw(st.lists(size, max_size=3))
    room = data.draw(st.sampled_from([40, 40, 39, 41, 0]))
    header = json.dumps(entries).encode()
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(room))
    try:
        found = read_forms(path, 3)
    except UntrustedError:
        return
    assert found == forms_of_the_library(path)
    widths = {"F32": 4, "F64": 8, "I64": 8, "U8": 1, "I8": 1}
    assert sum(math.prod(form.shape) * widths[form.dtype] for form in found.values()) == room


def forms_of_the_library(path: Path) -> dict[str, Form]:
    with safe_open(path, framework="numpy") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return {n: Form(p.get_dtype(), tuple(p.get_shape())) for n, p in parts.items()}
