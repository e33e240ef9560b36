"""The key of a decoded file: a digest of its content and of all else that decides its pixels.

A file's name and date play no part in it. So whatever changes gives another key, and what is kept
under a key is never stale.
"""

import hashlib
import json
import stat
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import PIL

from omnial.config.settings import DataSettings

Purpose: TypeAlias = Literal["input", "image", "mask"]
"""What a file is decoded as: a network input, or an image or a mask that is only checked."""

_SETTINGS = {"height", "width", "geometry", "significant_bits", "max_megapixels"}
_CODE = ("decode.py", "geometry.py", "image_file.py", "integrity.py", "tiff_kinds.py")


class Identity(NamedTuple):
    """Digest of a file's content, and the state of the file that it was computed from."""

    content: bytes
    """SHA-256, 32 bytes."""
    state: tuple[int, ...]

    def key(self, tag: bytes) -> bytes:
        """The key of what the file is decoded to, 32 bytes; see `tag_of`."""
        return hashlib.sha256(tag + self.content).digest()


def tag_of(settings: DataSettings, purpose: Purpose) -> bytes:
    """Digest what decides the pixels beside a file's content: settings, decoder and code.

    Raises:
        OSError: The package's sources cannot be read.
    """
    decides = settings.model_dump(mode="json", include=_SETTINGS)
    tag = hashlib.sha256(json.dumps([purpose, PIL.__version__, decides]).encode())
    code = resources.files("omnial.data")
    for name in _CODE:
        tag.update((code / name).read_bytes())
    return tag.digest()


def state_of(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is no regular file."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def identify(path: Path) -> Identity | None:
    """Digest a file as it is now; None if it cannot be read."""
    state = state_of(path)
    if state is None:
        return None
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
    return Identity(content, state)
