"""Where pictures come from: the interface of a feed, and files that appear in a folder."""

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.inference.inputs import each_image

_POLL: Final = 0.1
"""Seconds between two looks at a folder, or more where a look takes long."""
_SETTLED: Final = 0.4
"""Seconds for which a file must not have changed to count as completely written."""
_GRACE: Final = 3.0
"""Seconds for which a file that is empty or cannot be read is looked at again and again."""
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
    again, for some seconds or until it can. What is there at first counts only with `existing`.
    """

    def __init__(
        self, folder: Path, *, existing: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._clock = folder.absolute(), clock
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
        files = each_image([self._folder], warn=False)
        return {path: state for path in files if (state := _state(path))}

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
