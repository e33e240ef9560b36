"""What an ONNX file may hold before an engine opens it, seen without any ONNX package.

A tensor of an ONNX file may lie in another file, whose path the file names. Engines differ, from
version to version, in which paths they follow: here none is followed, since `omnial export` writes
everything into one file. Only the skeleton of the file is walked, on a memory map: weights are
stepped over.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from omnial.untrusted import UntrustedError, open_regular, quoted

MOST_BYTES: Final = 2**31
"""Largest file that the format itself allows."""

_MOST_FIELDS = 2**18
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Numbers of the fields, by message, that hold further messages: the public onnx.proto.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _FUNCTION, _TRAINING, _SPARSE, _TENSOR, _ENTRY = range(9)
_INNER: Final[Mapping[int, Mapping[int, int]]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: _ENTRY},
}
_OP_TYPE, _DOMAIN, _DATA_LOCATION = 4, 7, 14
_STANDARD = ("", "ai.onnx")
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


def check_onnx(path: Path) -> None:
    """Refuse an ONNX file that is more than one network in one file.

    Raises:
        UntrustedError: A tensor lies elsewhere, an operator is none of the standard's or runs
            others in a loop, or the file is no such file at all.
        OSError: It cannot be read.
    """
    with open_regular(path, MOST_BYTES) as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file
            raise UntrustedError("it is empty") from error
        with content:
            _walk(content)


def _walk(content: mmap.mmap) -> None:
    waiting = [(_MODEL, 0, len(content))]
    fields = graphs = 0
    while waiting:
        message, begin, end = waiting.pop()
        graphs += message == _GRAPH
        for number, kind, start, stop in _fields(content, begin, end):
            fields += 1
            if fields > _MOST_FIELDS:
                raise UntrustedError(f"it has more than {_MOST_FIELDS:,} parts")
            inner = _INNER[message].get(number)
            if inner == _ENTRY or (message == _TENSOR and number == _DATA_LOCATION and start):
                raise UntrustedError("it keeps a tensor in another file")
            if message == _NODE and kind == _BYTES:
                _check_operator(number, content[start : min(stop, start + 256)])
            if inner is not None:
                if kind != _BYTES:
                    raise UntrustedError("it is no ONNX file")
                waiting.append((inner, start, stop))
    if not graphs:
        raise UntrustedError("it is no ONNX file: it has no graph")


def _check_operator(number: int, text: bytes) -> None:
    name = text.decode("utf-8", "replace")
    if number == _DOMAIN and name not in _STANDARD:
        raise UntrustedError(f"it asks for operators of {quoted(name)}")
    if number == _OP_TYPE and name in _CONTROL_FLOW:
        raise UntrustedError(f"it has the operator {name}, which no export has")


def _fields(content: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number and wire type of each field of a message, and where its bytes lie.

    For a number of variable length, the third entry is the number itself.
    """
    at = begin
    while at < end:
        tag, at = _varint(content, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(content, at, end)
            yield number, kind, value, at
            continue
        if kind == _BYTES:
            length, at = _varint(content, at, end)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise UntrustedError("it is no ONNX file: an unknown wire type")
        if length > end - at:
            raise UntrustedError("it is no ONNX file: a part reaches beyond its end")
        yield number, kind, at, at + length
        at += length


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise UntrustedError("it is no ONNX file: a number does not end")
