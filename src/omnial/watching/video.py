"""Frames of a video file, one after the other, or of a camera, the newest each time (OpenCV)."""

import logging
import math
import re
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from omnial.errors import UserError
from omnial.inference.engines import needs_package
from omnial.watching.arrivals import Arrival, Feed

_WAIT: Final = 0.2
"""Seconds that `take` waits for a frame."""
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to reach a camera that is gone, at most."""
_TIMEOUT_MS: Final = 10_000
_logger = logging.getLogger(__name__)


def _open(source: str) -> Any:
    """OpenCV's capture of a file, of a device, by its number too, or of an address."""
    with needs_package("OpenCV, which reads video,", ".[video]"):
        import cv2
    if source.isdigit():
        return cv2.VideoCapture(int(source))
    if "://" in source:
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        pairs = [number for limit in limits for number in (limit, _TIMEOUT_MS)]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, pairs)
    return cv2.VideoCapture(source)


def _first(source: str) -> Any:
    """The capture of a source that can be opened; else a UserError."""
    capture = _open(source)
    if not capture.isOpened():
        raise UserError(
            f"{without_password(source)} cannot be opened as video. Check the address, whether "
            "another program uses the camera, and that the file is whole."
        )
    return capture


def without_password(source: str) -> str:
    """An address without name and password, which may stand before the host or in the query.

    A password may hold a slash: everything up to the last `@` goes.
    """
    return re.sub(r"(?<=://).*@", "", source.partition("?")[0]) if "://" in source else source


def _arrival(label: str, stem: str, frame: Any) -> Arrival:
    """A frame as OpenCV gives it, BGR."""
    return Arrival(label, stem, np.ascontiguousarray(frame[..., ::-1]))


class VideoFileFeed(Feed):
    """The frames of a video file: every one, or one for every so many seconds of the video."""

    def __init__(self, file: Path, every: float = 0.0) -> None:
        self._file, self._every, self._due = file, every, 0.0
        self._capture = _first(str(file))

    def take(self, most: int) -> list[Arrival] | None:
        """The next frames; None after the last one."""
        import cv2

        found: list[Arrival] = []
        while len(found) < most:
            if not self._capture.grab():
                return found or None
            seconds = max(0.0, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            if seconds < self._due - 1e-3:
                continue
            read, frame = self._capture.retrieve()
            if not read:
                _logger.warning("%s: the frame at %.3f s cannot be read", self._file, seconds)
                continue
            self._due = max(self._due + self._every, seconds)
            label, stem = f"{self._file}#t={seconds:.3f}", f"{self._file.stem[:40]}-{seconds:.3f}"
            found.append(_arrival(label, stem, frame))
        return found

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class CameraFeed(Feed):
    """The newest frame of a camera or a stream; those that nobody takes in time are counted.

    A thread reads without pause, so that no old frame waits in a buffer. A camera that is gone is
    opened again and again, in longer and longer pauses.
    """

    def __init__(self, source: str, every: float = 0.0) -> None:
        self._source, self._every, self.dropped = source, every, 0
        self._name = without_password(source)
        self._newest: Arrival | None = None
        self._due = math.inf  # nobody waits for frames yet
        self._fresh, self._ended = threading.Condition(), threading.Event()
        capture = _first(source)
        self._thread = threading.Thread(target=self._read, args=(capture,), daemon=True)
        self._thread.start()

    def take(self, most: int) -> list[Arrival] | None:
        """The newest frame."""
        with self._fresh:
            if self._due == math.inf:
                self._due = 0.0
            if self._newest is None:
                self._fresh.wait(_WAIT)
            frame, self._newest = self._newest, None
            if frame is None:
                return []
            self._due = time.monotonic() + self._every
            return [frame]

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join(2.0)

    def _read(self, capture: Any) -> None:
        pause = 0.0
        while not self._ended.is_set():
            read, frame = capture.read()
            if read:
                if pause:
                    _logger.info("%s gives pictures again", self._name)
                pause = 0.0
                self._offer(frame)
                continue
            if not pause:
                _logger.warning("%s gives no picture: it is opened again", self._name)
            pause = min(max(2 * pause, 1.0), _LONGEST_PAUSE)
            capture.release()
            self._ended.wait(pause)
            capture = _open(self._source)
        capture.release()

    def _offer(self, frame: Any) -> None:
        moment = datetime.now().astimezone().isoformat(timespec="milliseconds")
        with self._fresh:
            if time.monotonic() >= self._due:
                self.dropped += self._newest is not None
                self._newest = _arrival(f"{self._name}#{moment}", "frame", frame)
                self._fresh.notify()
