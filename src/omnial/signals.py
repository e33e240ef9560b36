"""Signals that ask a run to end, which it does between two steps instead of within one."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl+C; the end of a job, and what batch systems send some time before it."""


@contextlib.contextmanager
def noting_signals() -> Iterator[list[int]]:
    """Note the signals that come within the block, in a list that is empty until one does.

    A second Ctrl+C does not wait for the step's end. A signal that the process ignores, as those
    that a shell starts in the background do, stays ignored.
    """
    received: list[int] = []
    replaced: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                replaced[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
