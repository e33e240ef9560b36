"""How many images may be in the house at a time."""

import math
import threading
import time

from omnial.serving.problems import RefusedError

_MEMORY = 0.1
"""Weight of the latest batch in the average time of an image."""


class Admission:
    """Counts the images that are being received, wait or are in work.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._inside = 0
        self._image_seconds = 0.0
        self._lock = threading.Lock()

    @property
    def inside(self) -> int:
        """Images that have a place."""
        return self._inside

    def take(self, count: int = 1) -> None:
        """Take places.

        Raises:
            RefusedError: 429, there are not as many left; the answer says when to come again.
        """
        with self._lock:
            if self._inside + count <= self.most:
                self._inside += count
                return
            wait = max(1, math.ceil(self._inside * self._image_seconds))
        raise RefusedError(
            429,
            "busy",
            f"All {self.most} places are taken; try again in {wait} s.",
            {"Retry-After": str(wait)},
        )

    def give(self, count: int = 1) -> None:
        """Give places back."""
        with self._lock:
            self._inside -= count

    def took(self, images: int, since: float) -> None:
        """Learn how long images take, from when (`time.monotonic`) their batch began."""
        seconds = (time.monotonic() - since) / max(1, images)
        with self._lock:
            self._image_seconds += _MEMORY * (seconds - self._image_seconds)
