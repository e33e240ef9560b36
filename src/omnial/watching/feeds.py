"""Where pictures come from: files that appear in a folder, frames of a video file or a camera."""

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.data.image_file import SUFFIXES
from omnial.errors import UserError, without_password
from omnial.inference.engines import needs_package
from omnial.inference.inputs import each_image

_POLL: Final = 0.1
"""Seconds between two looks at a folder, or more where a look takes long."""
_SETTLED: Final = 0.4
"""Seconds for which a file must not have changed to count as completely written."""
_GRACE: Final = 3.0
"""Seconds for which a file that is empty or cannot be read is looked at again and again."""
_WAIT: Final = 0.2
"""Seconds that `take` waits for a frame."""
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to reach a camera that is gone, at most."""
_TIMEOUT_MS: Final = 10_000
_logger = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A picture to be inspected."""

    path: str
    """The file, or what stands for a frame: `clip.mp4#t=1.25`."""
    stem: str
    """What its results are called, after their time."""
    frame: NDArray[np.uint8] | None = None
    """(H, W, 3), RGB; None: it is the file."""


class Feed:
    """A source of pictures."""

    dropped = 0
    """Frames that nobody took before the next one came."""

    def take(self, most: int) -> list[Arrival] | None:
        """What has arrived, `most` at most, waiting a moment for it; None where it has ended."""
        raise NotImplementedError

    def waiting(self) -> int:
        """How many pictures are there and were not taken, frames aside."""
        return 0

    def again(self, arrival: Arrival) -> bool:
        """Whether a picture that could not be read will come again, once it is whole."""
        return False

    def close(self) -> None:
        """End it."""


_State: TypeAlias = tuple[int, int]
"""What changes when a file is written: its time of change and its size."""


class FolderFeed(Feed):
    """Files that appear in a folder or below it, or change there, in the order of their times.

    A file is taken when it has not changed for a moment. One that cannot be read then is taken
    again, for some seconds or until it can. What is there at first counts only with `existing`,
    but for what a folder holds that cannot be listed at first.
    """

    def __init__(
        self, folder: Path, *, existing: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._clock = folder.absolute(), clock
        self._unlisted = set[Path]()
        self._taken: dict[Path, _State] = {} if existing else self._look()
        self._changing: dict[Path, tuple[_State, float]] = {}
        self._unreadable: dict[Path, tuple[_State, float]] = {}
        self._queue: deque[Path] = deque()
        self._next_look, self._lost = 0.0, False

    def take(self, most: int) -> list[Arrival] | None:
        """The files that are whole."""
        now = self._clock()
        if now >= self._next_look:
            self._update(now)
            self._next_look = self._clock() + max(_POLL, 4 * (self._clock() - now))
        if not self._queue:
            time.sleep(_POLL / 2)
        files = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        return [Arrival(str(file), file.stem[:50]) for file in files]

    def waiting(self) -> int:
        """Files that are whole."""
        return len(self._queue)

    def again(self, arrival: Arrival) -> bool:
        """Whether a file changes still, or has for a short time only been unreadable."""
        path, now = Path(arrival.path), self._clock()
        state = _state(path)
        if state is None:
            return False
        same = state == self._taken.get(path)
        if same and now - _since(self._unreadable, path, state, now) > _GRACE:
            return False
        self._taken.pop(path, None)
        return True

    def _look(self) -> dict[Path, _State]:
        before, unlisted = self._unlisted, set[Path]()
        files = each_image([self._folder], unlisted=unlisted.add)
        found = {path: state for path in files if (state := _state(path))}
        # A folder that is gone by now is no concern.
        self._unlisted = set(filter(os.path.lexists, unlisted))
        for folder in sorted(self._unlisted - before):
            _logger.warning("%s cannot be listed: left out as long as it cannot", folder)
        return found

    def _update(self, now: float) -> None:
        """Queue what has become whole."""
        try:
            found = self._look()
        except (UserError, OSError):
            if not self._lost:
                _logger.warning("%s cannot be listed; waiting for it", self._folder)
            self._lost = True
            return
        if self._lost:
            _logger.info("%s is there again", self._folder)
        self._lost = False
        if not found:
            return  # a share that is not mounted looks empty: what was taken stays noted
        for noted in (self._taken, self._changing, self._unreadable):
            for path in noted.keys() - found.keys():
                if self._unlisted.isdisjoint(path.parents):
                    del noted[path]
        whole = []
        for path, state in found.items():
            if self._taken.get(path) == state:
                continue
            modified, size = state
            since = _since(self._changing, path, state, now)
            if now - since >= (_SETTLED if size else _GRACE):
                del self._changing[path]
                self._taken[path] = state
                whole.append((modified, path))
        self._queue.extend(path for _, path in sorted(whole))


def _since(noted: dict[Path, tuple[_State, float]], path: Path, state: _State, now: float) -> float:
    """Since when a file is in its present state, which is noted."""
    before, since = noted.get(path, (None, now))
    noted[path] = (state, since if before == state else now)
    return noted[path][1]


def _state(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


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


def open_feed(source: str, *, existing: bool = False, every: float = 0.0) -> Feed:
    """The feed of a folder, a video file, a device or its number, or an address.

    Raises:
        UserError: It is none of these, or cannot be opened.
    """
    path = Path(source)
    if path.is_dir():
        if every:
            raise UserError("--every is for video; a folder's files are all inspected")
        return FolderFeed(path, existing=existing)
    if existing:
        raise UserError("--existing is for a folder, which SOURCE is not")
    if path.suffix.lower() in SUFFIXES and path.is_file():
        raise UserError(f"{source} is a picture: give it to omnial predict, or watch its folder")
    if path.is_file():
        return VideoFileFeed(path, every)
    if source.isdigit() or "://" in source or path.exists():
        return CameraFeed(source, every)
    raise UserError(f"{source}: no such folder, video file or device. Check the spelling.")
