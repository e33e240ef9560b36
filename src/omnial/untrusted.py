"""Bounded reading of untrusted files: plain files, JSON and safetensors headers.

A folder with a model can be downloaded. Nothing here takes more memory than a fixed multiple of
a bound that the caller names. A file that is something else than asked for is an `UntrustedError`,
one that cannot be read an `OSError`.
"""

import json
import math
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from omnial.errors import shown

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None

MOST_JSON_BYTES: Final = 2**24
"""Largest JSON file that is read where the caller names no other bound."""
MOST_DEPTH: Final = 32
"""Deepest nesting of objects and lists in JSON."""
_TOO_DEEP = f"it is nested deeper than {MOST_DEPTH}"

_MOST_VALUES = 2**20  # a value is up to a hundred bytes in memory, in the file only two
_MOST_DIGITS = 19  # whole numbers of 64 bits
_MOST_HEADER_BYTES = 2**22
_MOST_TENSOR_BYTES = 2**34  # several times the largest network that the settings allow
_MOST_NAME = 255
_MOST_REASON = 1000
_KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
# On Windows neither exists: there, a link can only be refused before it is opened.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class UntrustedError(ValueError):
    """A file is not what it should be: why, as a clause about `it`.

    The message names no path: the caller knows what the file is for and how the user can fix it.
    """


class Form(NamedTuple):
    """Type and shape of a stored tensor, as the safetensors format names them."""

    dtype: str
    """`F32`, `BOOL`, ..."""
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def check_regular(path: Path, most: int | None = None) -> int:
    """The size in bytes of a plain file of at most so many bytes.

    Links, folders, devices, pipes and sockets are refused; the folders on the way may be links.
    """
    return _checked_size(os.lstat(path), most)


@contextmanager
def open_regular(path: Path, most: int | None = None) -> Iterator[BinaryIO]:
    """Open a plain file of at most so many bytes, never following a link or waiting for a pipe."""
    check_regular(path, most)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_LINK)) as file:
        # Once more on what was opened: the name may mean another file by now.
        _checked_size(os.fstat(file.fileno()), most)
        yield file


def read_bytes(path: Path, most: int) -> bytes:
    """Content of a plain file of at most so many bytes."""
    with open_regular(path, most) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UntrustedError(f"it is larger than {most:,} bytes")
    return content


def read_json(path: Path, most: int = MOST_JSON_BYTES) -> object:
    """Content of a JSON file of at most so many bytes; see `parse_json`."""
    return parse_json(read_bytes(path, most))


def parse_json(content: bytes) -> object:
    """Parse JSON that means the same to every reader.

    Besides what the format asks for: UTF-8 with no lone surrogates, no key twice in an object, no
    NaN or infinity, whole numbers within 64 bits, nesting of at most `MOST_DEPTH`, and a bounded
    number of values.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise UntrustedError(f"it holds more than {_MOST_VALUES:,} values")
    try:
        value = json.loads(
            content.decode("utf-8"),
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_real,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise UntrustedError(_TOO_DEEP) from error
    except UntrustedError:
        raise
    except ValueError as error:
        raise UntrustedError(f"it is not valid JSON: {error}") from error
    _check_tree(value)
    return value


def read_forms(path: Path, most: int) -> dict[str, Form]:
    """Types and shapes of the tensors in a safetensors file, at most so many, reading none of them.

    The library refuses every header that does not describe the file to its last byte; file and
    header are bounded before it sees them.
    """
    with open_regular(path, _MOST_TENSOR_BYTES) as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MOST_HEADER_BYTES:
        raise UntrustedError(
            f"it is no safetensors file: its header should have at most {_MOST_HEADER_BYTES:,} "
            f"bytes, and it says {length:,}"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UntrustedError(f"it is no safetensors file: {error}") from error
    if len(parts) > most:
        raise UntrustedError(f"it holds {len(parts):,} tensors, at most {most:,} are expected")
    return {name: Form(part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}


def check_forms(found: Mapping[str, Form], expected: Mapping[str, Form]) -> None:
    """Refuse a file in which a tensor is missing, unexpected, or of another type or shape."""
    missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    for word, names in (("lacks the", missing), ("has the unexpected", surplus)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UntrustedError(f"it {word} tensor {quoted(names[0])}{more}")
    for name, form in expected.items():
        if found[name] != form:
            raise UntrustedError(f"its tensor {quoted(name)} is {found[name]}, not {form}")


def is_plain_name(name: str) -> bool:
    """Whether a text can be the name of one file or class.

    It has 1 to 255 characters, none of them a slash, a backslash, a line break or a control
    character, and is neither `.` nor `..`.
    """
    return (
        0 < len(name) <= _MOST_NAME
        and name not in (".", "..")
        and not any(character in "/\\" for character in name)
        and is_line(name)
    )


def is_line(text: str) -> bool:
    """Whether a text is Unicode without line breaks and control characters."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def quoted(value: object, most: int = 80) -> str:
    """A value from a file as a message shows it: short, in quotes, control characters escaped."""
    text = repr(value[: most + 1] if isinstance(value, str) else value)
    return text if len(text) <= most else text[:most] + "..."


def reason_of(error: Exception) -> str:
    """What an error that came of reading a file says of it, as a clause about `it`."""
    if isinstance(error, OSError):
        return f"it cannot be read: {error}"
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    reason = first["ctx"]["error"] if first["type"] == "value_error" else first["msg"]
    place = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place + ': ' if place else ''}{reason}{more}"


def plain(reason: str) -> str:
    """A reason that may hold text from a file, cut to a readable length and harmless to print."""
    text = "\n".join(map(shown, reason[:_MOST_REASON].split("\n")))
    return text if len(reason) <= _MOST_REASON else text + "..."


def _checked_size(status: os.stat_result, most: int | None) -> int:
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device or socket")
        raise UntrustedError(f"it is {kind}, not a plain file")
    if most is not None and status.st_size > most:
        raise UntrustedError(f"it is larger than {most:,} bytes")
    return status.st_size


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise UntrustedError(f"it has the key {quoted(twice)} twice in one object")
    return values


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _MOST_DIGITS or not -(2**63) <= int(text) < 2**63:
        raise UntrustedError(f"it holds a whole number beyond 64 bits: {quoted(text, 24)}")
    return int(text)


def _real(text: str) -> float:
    if text[-1] in "Ny":  # NaN, Infinity
        raise UntrustedError(f"it is not valid JSON: {text} is not a number")
    if not math.isfinite(value := float(text)):
        raise UntrustedError(f"it holds a number beyond floating point: {quoted(text, 24)}")
    return value


def _check_tree(value: object) -> None:
    """Refuse deep nesting, and texts that no encoding can write again."""
    level, depth = [value], 0
    while level:
        below: list[object] = []
        for item in level:
            if isinstance(item, str) and not item.isascii():
                try:
                    item.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise UntrustedError("it is not valid JSON: a text is not Unicode") from error
            elif isinstance(item, dict | list) and depth == MOST_DEPTH:
                raise UntrustedError(_TOO_DEEP)
            elif isinstance(item, dict):
                below += [*item, *item.values()]
            elif isinstance(item, list):
                below += item
        level, depth = below, depth + 1
