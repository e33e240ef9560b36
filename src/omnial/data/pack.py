"""One file of the input cache: many decoded images behind an index, written once, then only read.

A pack is a header, an index and the pixels:

    magic (16 bytes), number of entries (uint64)
    the entries: key, kind of pixels, place of the pixels, size of the source image, checksum
    the pixels of each entry at a multiple of 64 bytes

Nothing in a pack is believed. The header must fit the file's size, the pixels of an entry must lie
inside the file, and an entry's checksum covers its other fields as well as its pixels. Plain
numbers are all that is read: there is no pickle in it.
"""

import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from omnial.files import replacing

_MAGIC = b"omnial inputs 1\n"
_HEADER = struct.Struct("<16sQ")
_INDEX = np.dtype(
    [
        ("key", "S32"),
        ("kind", "u1"),
        ("place", "<u8"),
        ("rows", "<u4"),
        ("columns", "<u4"),
        ("checksum", "<u4"),
    ]
)
_ALIGNMENT = 64
_DTYPES: Mapping[int, np.dtype[Any]] = {1: np.dtype(np.uint8), 2: np.dtype(np.float32)}
"""What the pixels are, by the number that stands for it."""
_NOTHING: NDArray[Any] = np.empty(0, dtype=np.uint8)
_NOTHING.flags.writeable = False

SUFFIX = ".pack"
_ABANDONED_SECONDS = 3600


class DamagedPackError(ValueError):
    """A pack, or an entry of one, that is not what `write_pack` wrote."""


class Entry(NamedTuple):
    """What the cache knows about one file."""

    source_size: tuple[int, int]
    """Height and width of the source image in pixels, upright."""
    pixels: NDArray[Any] = _NOTHING
    """The frame (3, height, width), uint8 or float32; (0,) where only the check counts."""


class Pack:
    """A pack on disk: its index in memory, its pixels in the file.

    Args:
        path: The file.

    Raises:
        OSError: The file cannot be read.
        DamagedPackError: It is no pack, or its index does not fit its size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            header = file.read(_HEADER.size)
            if len(header) != _HEADER.size:
                raise DamagedPackError(f"{path}: too short")
            magic, count = _HEADER.unpack(header)
            # Compared before anything is read, so that a false number takes no memory.
            if magic != _MAGIC or count * _INDEX.itemsize > self.size - _HEADER.size:
                raise DamagedPackError(f"{path}: not a pack")
            index = file.read(count * _INDEX.itemsize)
        if len(index) != count * _INDEX.itemsize:
            raise DamagedPackError(f"{path}: too short")
        self._index = np.frombuffer(index, dtype=_INDEX)
        self._map: NDArray[np.uint8] | None = None

    @property
    def keys(self) -> list[bytes]:
        """The keys of all entries, in their order."""
        # NumPy drops zero bytes at the end of a text of bytes.
        return [key.ljust(_INDEX["key"].itemsize, b"\0") for key in self._index["key"].tolist()]

    def entry(
        self, number: int, shape: Callable[[tuple[int, int]], tuple[int, ...]], *, mapped: bool
    ) -> Entry:
        """Read an entry and check it.

        Args:
            number: Its place in `keys`.
            shape: What its pixels must have, by the height and width of the source image; a
                ValueError where no image has such a size.
            mapped: Give the pixels as a read-only view of the file, which stays open, and a
                process may open only so many; otherwise as a copy.

        Raises:
            OSError: The file cannot be read.
            DamagedPackError: The entry is damaged.
        """
        record = self._index[number]
        dtype = _DTYPES.get(int(record["kind"]))
        if dtype is None:
            raise DamagedPackError(f"{self.path}: entry {number} is of an unknown kind")
        source_size = (int(record["rows"]), int(record["columns"]))
        try:
            wanted = shape(source_size)
        except ValueError as error:
            raise DamagedPackError(f"{self.path}: entry {number} has no size") from error
        place, length = int(record["place"]), math.prod(wanted) * dtype.itemsize
        if place + length > self.size:
            raise DamagedPackError(f"{self.path}: entry {number} lies outside the file")
        pixels: NDArray[Any] = _NOTHING
        if length:
            pixels = self._bytes(place, length, mapped).view(dtype).reshape(wanted)
        if int(record["checksum"]) != _checksum(record.tobytes(), pixels):
            raise DamagedPackError(f"{self.path}: the checksum of entry {number} is wrong")
        return Entry(source_size, pixels)

    def _bytes(self, place: int, length: int, mapped: bool) -> NDArray[np.uint8]:
        if not mapped:
            part = np.fromfile(self.path, dtype=np.uint8, count=length, offset=place)
            if len(part) != length:
                raise DamagedPackError(f"{self.path}: too short")
            return part
        if self._map is None:
            whole = np.memmap(self.path, dtype=np.uint8, mode="r")
            if len(whole) != self.size:
                raise DamagedPackError(f"{self.path}: of another size than a moment ago")
            # A plain view: NumPy's own class is slow to slice.
            self._map = np.asarray(whole)
        return self._map[place : place + length]


def write_pack(path: Path, entries: Mapping[bytes, Entry]) -> None:
    """Write a pack; it appears whole or not at all.

    Args:
        path: The file.
        entries: By keys of 32 bytes; their pixels are uint8 or float32.

    Raises:
        OSError: The file cannot be written.
    """
    kinds = {dtype: kind for kind, dtype in _DTYPES.items()}
    index = np.zeros(len(entries), dtype=_INDEX)
    place = _HEADER.size + index.nbytes
    for record, (key, (source_size, pixels)) in zip(index, entries.items(), strict=True):
        if pixels.size:
            place = -(-place // _ALIGNMENT) * _ALIGNMENT
        record["key"], record["kind"], record["place"] = key, kinds[pixels.dtype], place
        record["rows"], record["columns"] = source_size
        record["checksum"] = _checksum(record.tobytes(), pixels)
        place += pixels.nbytes
    with replacing(path) as part, part.open("wb") as file:
        file.write(_HEADER.pack(_MAGIC, len(entries)) + index.tobytes())
        for record, entry in zip(index, entries.values(), strict=True):
            if entry.pixels.size:
                file.seek(int(record["place"]))
                file.write(np.ascontiguousarray(entry.pixels).data)


def packed_size(entries: Mapping[bytes, Entry]) -> int:
    """Bytes that a pack of these entries takes at most."""
    pixels = sum(entry.pixels.nbytes for entry in entries.values())
    return _HEADER.size + len(entries) * (_INDEX.itemsize + _ALIGNMENT) + pixels


class PackFile(NamedTuple):
    """A pack as its folder lists it."""

    used: int
    """When it was last used, in nanoseconds since 1970."""
    size: int
    """In bytes."""
    path: Path


def packs_in(folder: Path) -> list[PackFile]:
    """The packs in a folder, longest unused first; what a killed run left half written goes.

    Raises:
        OSError: The folder cannot be read.
    """
    found = []
    abandoned = time.time() - _ABANDONED_SECONDS
    for path in folder.iterdir():
        try:
            state = path.stat()
            if path.suffix == SUFFIX:
                found.append(PackFile(state.st_mtime_ns, state.st_size, path))
            elif path.name.endswith(f"{SUFFIX}.part") and state.st_mtime < abandoned:
                path.unlink()
        except OSError:
            # Another run was faster, or has it open.
            continue
    return sorted(found)


def _checksum(record: bytes, pixels: NDArray[Any]) -> int:
    """The checksum of an entry, whose own field is the last of its record."""
    start = zlib.crc32(record[: -_INDEX["checksum"].itemsize])
    return zlib.crc32(np.ascontiguousarray(pixels).data, start)
