"""Signals that end a run between two steps, with a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any, Final, Self

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl+C; the end of a job, and what batch systems send some time before it."""


class Interrupts:
    """Notes within its block that a signal asks the run to end.

    A second Ctrl+C does not wait for the step's end. A signal that the process ignores, as those
    that a shell starts in the background do, stays ignored.
    """

    def __init__(self) -> None:
        self.received = False
        """Whether a signal came."""
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._replaced[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        while self._replaced:
            signal.signal(*self._replaced.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
