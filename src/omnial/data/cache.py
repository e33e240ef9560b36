"""The cache of decoded images on disk: a file is decoded once, one `.npy` for each.

An entry's name begins with a digest of the file's content and of everything else that decides its
pixels (settings, Pillow's version, the code that decodes), so that an entry is never stale; it
goes on with the source's size and a checksum of the pixels, so that a damaged one is decoded
again. Entries appear whole and never change: runs share the folder without a lock.
"""

import hashlib
import json
import logging
import os
import re
import stat
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import PIL
from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.decode import network_input, read_mask, read_rgb
from omnial.data.geometry import Placement, place
from omnial.data.image_file import ImageError
from omnial.files import PART, replacing

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PARSING: Final = threading.Lock()
LOCATION: Final = "OMNIAL_CACHE"
"""Environment variable that names the folder of the cache."""

Purpose: TypeAlias = Literal["input", "image", "mask"]
"""What a file is decoded as: a network input, or an image or a mask that is only checked."""

_DECODERS: Final = 4
_HEADER_BYTES: Final = 128  # of a `.npy` file
_ABANDONED_SECONDS: Final = 3600.0
_NAME: Final = re.compile(r"([0-9a-f]{64})-\d{1,9}x\d{1,9}-[0-9a-f]{8}\.npy")
_SETTINGS: Final = {"height", "width", "geometry", "significant_bits", "max_megapixels"}
_CODE: Final = ("decode.py", "geometry.py", "image_file.py")
_Decoded: TypeAlias = tuple[tuple[int, int], NDArray[Any]]
"""Height and width of the source, upright, and the frame, or no pixels if it is only checked."""

_logger = logging.getLogger(__name__)
_WITHOUT: Final = (
    "The run goes on without keeping decoded images: %s. Set OMNIAL_CACHE to a folder that can be "
    "written."
)
_FULL: Final = (
    "The cache of decoded images is full (data.cache_gigabytes is %g): what does not fit stays in "
    "memory, and is decoded again by the next run."
)


class _Entry(NamedTuple):
    """A file of the cache, and when a run used it last, in nanoseconds since 1970."""

    used: int
    key: str
    path: Path
    bytes: int


class InputCache:
    """The cache as one run sees it. Safe to use from several threads.

    Its folder is made if it is missing; None is a cache that is off, which decodes whenever it is
    asked.
    """

    def __init__(self, folder: Path | None, settings: DataSettings) -> None:
        self._folder, self._settings = folder, settings
        self._limit = int(settings.cache_gigabytes * 1e9)
        self._writes = folder is not None
        self._lock = threading.Lock()
        self._digests: dict[Path, tuple[tuple[int, ...], bytes]] = {}
        self._entries: dict[str, _Entry] = {}
        self._used: dict[str, int] = {}
        # Half of the files that the run may open, as each mapping keeps one open.
        self._mappings = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 if resource else 128
        if folder is not None:
            self._tags = {name: _tag(settings, name) for name in ("input", "image", "mask")}
            folder.mkdir(parents=True, exist_ok=True)
            self._entries = {entry.key: entry for entry in _entries_in(folder)}
        self._total = sum(entry.bytes for entry in self._entries.values())

    def network_input(self, path: Path) -> tuple[NDArray[Any], Placement]:
        """As of `decode`, or a read-only view of the cache's file."""
        source_size, pixels = self._get(path, "input", "input")
        return pixels, place(source_size, self._settings)

    def network_inputs(self, paths: Sequence[Path]) -> list[tuple[NDArray[Any], Placement]]:
        """`network_input` of many files."""
        with ThreadPoolExecutor(_DECODERS) as pool:
            return list(pool.map(self.network_input, paths))

    def check(self, path: Path, purpose: Purpose) -> tuple[int, int]:
        """Height and width of a file, decoded in full unless it was found good before.

        A network input is kept; where nothing can be kept any more, none is made.
        """
        only_checked = purpose == "input" and not self._writes
        return self._get(path, purpose, "image" if only_checked else purpose)[0]

    def content(self, path: Path) -> bytes:
        """SHA-256 of a file's content as it is now, read once; an `ImageError` if it cannot be."""
        state = _state(path)
        known, digest = self._digests.get(path, (None, None))
        if state is None or known != state:
            digest = content_digest(path)
        if state is None or digest is None:
            raise ImageError(path, "it cannot be read any more")
        self._digests[path] = (state, digest)
        return digest

    def _get(self, path: Path, purpose: Purpose, decoded_as: Purpose) -> _Decoded:
        digest = None
        if self._folder is not None:
            with suppress(ImageError):  # decoding explains better why the file cannot be read
                digest = self.content(path)
        if digest is None:
            return self._decode(path, decoded_as)
        key = hashlib.sha256(self._tags[purpose] + digest).hexdigest()
        if found := self._load(key):
            return found
        decoded = self._decode(path, decoded_as)
        # A file that changed meanwhile may have been decoded in another state than digested.
        if self._digests[path][0] != _state(path) or not self._save(key, *decoded):
            return decoded
        return self._load(key) or decoded

    def _decode(self, path: Path, purpose: Purpose) -> _Decoded:
        if purpose == "input":
            pixels, placement = network_input(path, self._settings)
            return (placement.source_height, placement.source_width), pixels
        checked = read_mask(path) if purpose == "mask" else read_rgb(path, self._settings)
        return (checked.shape[0], checked.shape[1]), np.empty(0, np.uint8)

    def _load(self, key: str) -> _Decoded | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        with self._lock:
            mode: Literal["r"] | None = "r" if self._mappings > 0 and entry.bytes > 4096 else None
            self._mappings -= mode is not None
            self._used[key] = entry.bytes
        try:
            # A plain array: slicing NumPy's class of mapped files is slow.
            # Python 3.11 may fail where two threads parse at once, as NumPy does with a header.
            with _PARSING:
                pixels = np.asarray(np.load(entry.path, mmap_mode=mode, allow_pickle=False))
            _, size, checksum = entry.path.stem.split("-")
            if _checksum(pixels) != checksum:
                raise ValueError("wrong checksum")
        except (OSError, ValueError, EOFError) as error:
            # Damaged, or another run has removed it.
            _logger.debug("%s is decoded again: %s", entry.path, error)
            with self._lock:
                self._forget(entry)
            return None
        with suppress(OSError):  # in someone else's folder, its owner's use decides what stays
            os.utime(entry.path)
        pixels.flags.writeable = False
        height, width = map(int, size.split("x"))
        return (height, width), pixels

    def _save(self, key: str, source_size: tuple[int, int], pixels: NDArray[Any]) -> bool:
        """Write an entry; False if it cannot be kept."""
        if self._folder is None or not self._writes:
            return False
        size = pixels.nbytes + _HEADER_BYTES
        path = self._folder / "{}-{}x{}-{}.npy".format(key, *source_size, _checksum(pixels))
        try:
            with self._lock:
                if not self._make_room(self._folder, size):
                    self._stop(_FULL, self._settings.cache_gigabytes)
                    return False
                self._total += size
                self._used[key] = size
            with replacing(path, flush=False, rivals=True) as part, part.open("wb") as file:
                np.save(file, pixels)
        except OSError as error:
            self._stop(_WITHOUT, error)
            return False
        self._entries[key] = _Entry(time.time_ns(), key, path, size)
        return True

    def _make_room(self, folder: Path, size: int) -> bool:
        """Remove entries that this run has not used, the oldest first, until so many bytes fit."""
        if self._total + size <= self._limit:
            return True
        if sum(self._used.values()) + size > self._limit:
            return False
        present = sorted(_entries_in(folder))
        # What other threads are writing at the moment counts as well.
        sizes = self._used | {entry.key: entry.bytes for entry in present}
        self._total = sum(sizes.values())
        for entry in present:
            # Some more than is needed, so that the folder is not listed for every entry.
            if self._total + size <= 0.9 * self._limit:
                break
            if entry.key not in self._used:
                self._forget(entry)
        return self._total + size <= self._limit

    def _forget(self, entry: _Entry) -> None:
        """Remove an entry; a run that has it open keeps it."""
        self._entries.pop(entry.key, None)
        self._used.pop(entry.key, None)
        with suppress(OSError):
            entry.path.unlink()
            self._total -= entry.bytes

    def _stop(self, warning: str, cause: object) -> None:
        if self._writes:
            self._writes = False
            _logger.warning(warning, cause)


def open_cache(settings: DataSettings) -> InputCache:
    """Open the user's cache: `OMNIAL_CACHE`, or `omnial` below `XDG_CACHE_HOME` or `~/.cache`.

    It is off where the settings say so or, after a warning, where its folder cannot be used.
    """
    if settings.cache_gigabytes == 0:
        return InputCache(None, settings)
    try:
        return InputCache(_location() / "inputs", settings)
    # Path.home() raises a RuntimeError where there is none.
    except (OSError, RuntimeError) as error:
        _logger.warning(_WITHOUT, error)
        return InputCache(None, settings)


def content_digest(path: Path) -> bytes | None:
    """SHA-256 of a regular file's content, 32 bytes; None if it cannot be read."""
    if _state(path) is not None:
        with suppress(OSError), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return None


def _checksum(pixels: NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(pixels).data):08x}"


def _location() -> Path:
    if named := os.environ.get(LOCATION):
        return Path(named).absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "omnial"


def _tag(settings: DataSettings, purpose: str) -> bytes:
    """Digest of all that decides the pixels but a file's content: settings, decoder and code."""
    decides = settings.model_dump(mode="json", include=_SETTINGS)
    tag = hashlib.sha256(json.dumps([purpose, PIL.__version__, decides]).encode())
    for name in _CODE:
        tag.update((resources.files("omnial.data") / name).read_bytes())
    return tag.digest()


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is no regular file."""
    with suppress(OSError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return None


def _entries_in(folder: Path) -> list[_Entry]:
    """The entries in a folder; what a killed run left half written is removed."""
    entries, abandoned = [], time.time() - _ABANDONED_SECONDS
    with os.scandir(folder) as found:
        for file in found:
            name = _NAME.fullmatch(file.name)
            with suppress(OSError):  # another run was faster
                state = file.stat()
                if name is not None:
                    entries.append(_Entry(state.st_mtime_ns, name[1], Path(file), state.st_size))
                elif file.name.endswith(PART) and state.st_mtime < abandoned:
                    Path(file).unlink()
    return entries
