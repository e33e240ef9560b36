"""Bounded reading of untrusted files."""

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnial.untrusted import (
    Form,
    UntrustedError,
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


def test_plain_names() -> None:
    assert all(map(is_plain_name, ("bolt", "Große Schraube", "螺栓", "a.b c:d", "..a", "x" * 255)))
    assert not any(map(is_plain_name, ("", ".", "..", "a/b", "a\nb", "\x7f", "\ud800", "x" * 256)))


def test_what_a_message_shows() -> None:
    assert quoted("\x1b[2J") == repr("\x1b[2J")
    assert len(quoted("a" * 10**6)) < 90
    assert plain("a\x1bb\nc") == "a\ufffdb\nc"
    assert len(plain("a" * 10**6)) < 1010


@pytest.mark.parametrize("room", [24, 23, 25])
def test_forms_of_a_file_that_ends_where_its_header_says(tmp_path: Path, room: int) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(room)
    (tmp_path / "file").write_bytes(content)
    if room == 24:
        assert read_forms(tmp_path / "file", 1) == {"a": Form("F32", (2, 3))}
    else:
        with pytest.raises(UntrustedError, match="no safetensors file"):
            read_forms(tmp_path / "file", 1)


def test_a_header_is_bounded_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(struct.pack("<Q", 2**26) + b"{" + bytes(2**26))
    with pytest.raises(UntrustedError, match="its header should have at most 4,194,304 bytes"):
        read_forms(tmp_path / "file", 1)
