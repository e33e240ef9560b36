"""Network inputs kept on disk between runs, so that a file is decoded once in its life.

An entry's key is a digest of the file's content and of everything else that decides its pixels:
the settings, the version of Pillow, and the code that decodes. Whatever changes gives another
key, so an entry is never stale; a file's name and date play no part.

Entries lie in packs (`omnial.data.pack`), which appear whole or not at all and are never changed,
so runs may share the folder without a lock. At worst two runs that start together both decode.
To make room, the packs that were used longest ago are removed; a run that has one of them open
keeps it until it ends. Where the cache cannot be used, everything works as without it.
"""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from omnial.config.settings import DataSettings
from omnial.data.content_key import Identity, Purpose, identify, state_of, tag_of
from omnial.data.decode import network_input, read_mask, read_rgb
from omnial.data.geometry import Placement, place
from omnial.data.image_file import ImageError
from omnial.data.pack import (
    SUFFIX,
    DamagedPackError,
    Entry,
    Pack,
    packed_size,
    packs_in,
    write_pack,
)

_logger = logging.getLogger(__name__)

LOCATION: Final = "OMNIAL_CACHE"
"""Environment variable that names the folder of the cache."""

_DECODERS: Final = 4
_PACK_BYTES: Final = 2**26
_PACKS_AT_LEAST: Final = 8
"""Packs are so small that this many fit: room is made pack by pack."""
_MOST_MAPPED: Final = 128
"""Packs that a run keeps open; the systems' limits on open files start at 256."""

_WITHOUT: Final = (
    "The run goes on without keeping decoded images: %s. Set OMNIAL_CACHE to a folder that can be "
    "written."
)
_FULL: Final = (
    "The cache of decoded images is full (data.cache_gigabytes is %g): what does not fit stays in "
    "memory, and is decoded again by the next run."
)


class _Place(NamedTuple):
    """Where an entry is."""

    pack: Pack
    number: int


class InputCache:
    """The cache as one run sees it. Safe to use from several threads.

    Args:
        folder: Where the packs lie, made if it is not there; None for a cache that is off, which
            decodes whenever it is asked.
        settings: Size, geometry and bounds of the inputs, and of the cache.

    Raises:
        OSError: The folder can neither be read nor made.
    """

    def __init__(self, folder: Path | None, settings: DataSettings) -> None:
        self._folder, self._settings = folder, settings
        self._limit = int(settings.cache_gigabytes * 1e9)
        self._pack_bytes = min(_PACK_BYTES, self._limit // _PACKS_AT_LEAST)
        self._writes = folder is not None
        self._lock = threading.RLock()
        self._identities: dict[Path, Identity] = {}
        self._entries: dict[bytes, Entry] = {}
        self._places: dict[bytes, _Place] = {}
        self._pending: dict[bytes, Entry] = {}
        self._in_use: dict[Path, int] = {}
        self._requested: list[Path] = []
        self._tags: dict[Purpose, bytes] = {}
        if folder is not None:
            self._tags = {name: tag_of(settings, name) for name in ("input", "image", "mask")}
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                self._adopt(path)

    def request(self, paths: Iterable[Path]) -> None:
        """Say which inputs this run will ask for, so that none is removed to make room."""
        with self._lock:
            self._requested += paths

    def network_input(self, path: Path) -> tuple[NDArray[Any], Placement]:
        """Do as `omnial.data.decode.network_input`, without decoding where the cache can help.

        Returns:
            The frame (3, height, width), uint8 or float32, perhaps a read-only view of a file,
            and where the image lies in it.

        Raises:
            ImageError: The file cannot be used.
        """
        entry = self._get(path, "input", lambda: self._decode(path))
        return entry.pixels, place(entry.source_size, self._settings)

    def network_inputs(self, paths: Sequence[Path]) -> list[tuple[NDArray[Any], Placement]]:
        """Do `network_input` for many files, of which one pack at a time is in memory.

        Raises:
            ImageError: A file cannot be used.
        """
        self.request(paths)
        inputs: list[tuple[NDArray[Any], Placement]] = []
        # Without the cache there is nothing to wait for, and a small one must not idle decoders.
        step = self._pack_bytes // (3 * self._settings.height * self._settings.width)
        step = max(_DECODERS, step)
        if not self._writes:
            step = max(1, len(paths))
        with ThreadPoolExecutor(_DECODERS) as pool:
            for start in range(0, len(paths), step):
                part = paths[start : start + step]
                fresh = list(pool.map(self.network_input, part))
                self.flush()
                # What was decoded is now in a pack, and its copy in memory can go.
                inputs += [self._packed(*pair) for pair in zip(part, fresh, strict=True)]
        return inputs

    def check_input(self, path: Path) -> tuple[int, int]:
        """Decode an image in full, unless the cache has it, and keep its network input.

        Returns:
            The image's height and width in pixels, upright.

        Raises:
            ImageError: The file cannot be used.
        """
        decode = self._decode if self._writes else self._check
        return self._get(path, "input", lambda: decode(path)).source_size

    def check_image(self, path: Path) -> tuple[int, int]:
        """Decode an image in full, unless it was found good before; keep that alone.

        Returns:
            Its height and width in pixels, upright.

        Raises:
            ImageError: The file cannot be used.
        """
        return self._get(path, "image", lambda: self._check(path)).source_size

    def check_mask(self, path: Path) -> None:
        """Decode a mask in full, unless it was found good before; keep that alone.

        Raises:
            ImageError: The file is unreadable.
        """
        self._get(path, "mask", lambda: Entry(_size(read_mask(path))))

    def content(self, path: Path) -> bytes:
        """SHA-256 of a file's content as it is now; no file is read for it a second time.

        Raises:
            ImageError: The file cannot be read.
        """
        identity = self._identify(path)
        if identity is None:
            raise ImageError(path, "it cannot be read any more")
        return identity.content

    def flush(self) -> None:
        """Write what was decoded since the last time."""
        with self._lock:
            entries, self._pending = self._pending, {}
            if self._folder is None or not self._writes or not entries:
                return
            try:
                if not self._make_room(self._folder, packed_size(entries)):
                    self._stop(_FULL, self._settings.cache_gigabytes)
                    return
                # A name of its own: several runs may write at once.
                path = self._folder / f"{uuid.uuid4().hex}{SUFFIX}"
                write_pack(path, entries)
            except OSError as error:
                self._stop(_WITHOUT, error)
                return
            self._adopt(path)

    def _decode(self, path: Path) -> Entry:
        pixels, placement = network_input(path, self._settings)
        return Entry((placement.source_height, placement.source_width), pixels)

    def _check(self, path: Path) -> Entry:
        return Entry(_size(read_rgb(path, self._settings)))

    def _get(self, path: Path, purpose: Purpose, decode: Callable[[], Entry]) -> Entry:
        """An entry from the cache, or from the file itself."""
        identity = None if self._folder is None else self._identify(path)
        if identity is None:
            return decode()
        key = identity.key(self._tags[purpose])
        entry = self._find(key, purpose)
        if entry is None:
            entry = decode()
            # A file that changed meanwhile may have been decoded in another state than digested.
            if identity.state == state_of(path):
                self._add(key, entry)
        return entry

    def _identify(self, path: Path) -> Identity | None:
        """Digest a file as it is now; None if it cannot be read, which decoding will explain."""
        known = self._identities.get(path)
        if known is not None and known.state == state_of(path):
            return known
        identity = identify(path)
        if identity is not None:
            self._identities[path] = identity
        return identity

    def _shape_of_input(self, source_size: tuple[int, int]) -> tuple[int, ...]:
        placement = place(source_size, self._settings)
        return 3, placement.height, placement.width

    def _find(self, key: bytes, purpose: Purpose) -> Entry | None:
        with self._lock:
            known = self._entries.get(key) or self._pending.get(key)
            found = self._places.get(key)
            if known is not None or found is None:
                return known
            pack = found.pack
            self._use(pack)
            mapped = list(self._in_use).index(pack.path) < _MOST_MAPPED
        try:
            shape = self._shape_of_input if purpose == "input" else _without_pixels
            entry = pack.entry(found.number, shape, mapped=mapped)
        except OSError:
            # Most likely another run has removed it.
            self._forget(pack.path)
            return None
        except DamagedPackError:
            self._remove(pack.path)
            with self._lock:
                for sound in self._entries.keys() & set(pack.keys):
                    self._add(sound, self._entries[sound])
            return None
        with self._lock:
            if self._places.get(key) is not found:
                # Another thread met damage in the pack meanwhile; this part of it is sound.
                self._add(key, entry)
            return self._entries.setdefault(key, entry)

    def _packed(
        self, path: Path, fresh: tuple[NDArray[Any], Placement]
    ) -> tuple[NDArray[Any], Placement]:
        """The same input from its pack, if it is in one."""
        known = None if self._folder is None else self._identities.get(path)
        entry = None if known is None else self._find(known.key(self._tags["input"]), "input")
        return fresh if entry is None else (entry.pixels, fresh[1])

    def _add(self, key: bytes, entry: Entry) -> None:
        with self._lock:
            if self._writes:
                self._pending[key] = entry
                if packed_size(self._pending) >= self._pack_bytes:
                    self.flush()

    def _adopt(self, path: Path) -> None:
        """Learn what a pack holds."""
        try:
            pack = Pack(path)
        except DamagedPackError:
            self._remove(path)
        except OSError:
            # As if it were not there.
            self._forget(path)
        else:
            for number, key in enumerate(pack.keys):
                self._places.setdefault(key, _Place(pack, number))

    def _use(self, pack: Pack) -> None:
        """Note that this run needs a pack, for itself and for the others."""
        if pack.path not in self._in_use:
            self._in_use[pack.path] = pack.size
            try:
                os.utime(pack.path)
            except OSError:
                # Someone else's folder: its owner's use decides what stays.
                _logger.debug("%s: the time of its use cannot be noted", pack.path)

    def _forget(self, path: Path) -> None:
        """Look for nothing in a pack any more."""
        with self._lock:
            self._in_use.pop(path, None)
            self._places = {
                key: found for key, found in self._places.items() if found.pack.path != path
            }

    def _remove(self, path: Path) -> None:
        """Remove a pack from the folder; whoever has it open keeps it."""
        self._forget(path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # Read-only, or open elsewhere where that forbids it.
            _logger.debug("%s cannot be removed: %s", path, error)

    def _make_room(self, folder: Path, size: int) -> bool:
        """Remove packs, longest unused first, until so many bytes fit; False if they cannot."""
        packs = packs_in(folder)
        total = sum(pack.size for pack in packs)
        if total + size > self._limit:
            self._claim()
        if sum(self._in_use.values()) + size > self._limit:
            return False
        for pack in packs:
            if total + size <= self._limit:
                break
            if pack.path not in self._in_use:
                self._remove(pack.path)
                total -= pack.size
        return True

    def _claim(self) -> None:
        """Find the packs that the run will need, before others are removed."""
        requested, self._requested = self._requested, []
        for path in requested:
            identity = self._identify(path)
            key = None if identity is None else identity.key(self._tags["input"])
            found = None if key is None else self._places.get(key)
            if found is not None:
                self._use(found.pack)

    def _stop(self, warning: str, cause: object) -> None:
        """Write no more, and say so, once."""
        self._writes = False
        _logger.warning(warning, cause)


def open_cache(settings: DataSettings) -> InputCache:
    """Open the cache of the user who runs this.

    Its folder is named by `OMNIAL_CACHE`; otherwise it is `omnial` below `XDG_CACHE_HOME` or
    `~/.cache`.

    Returns:
        The cache; one that is off where the settings say so or, after a warning, where its folder
        can neither be read nor made.
    """
    if settings.cache_gigabytes == 0:
        return InputCache(None, settings)
    try:
        return InputCache(_location() / "inputs", settings)
    # Path.home() raises a RuntimeError where there is none.
    except (OSError, RuntimeError) as error:
        _logger.warning(_WITHOUT, error)
        return InputCache(None, settings)


def _location() -> Path:
    named = os.environ.get(LOCATION)
    if named:
        return Path(named).absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "omnial"


def _without_pixels(source_size: tuple[int, int]) -> tuple[int, ...]:
    return (0,)


def _size(image: NDArray[Any]) -> tuple[int, int]:
    height, width = image.shape[:2]
    return height, width
