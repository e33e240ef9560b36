"""A signal ends a run between two steps, with a checkpoint, in all its processes at once."""

import signal
import threading
from types import FrameType
from typing import Any, Final

import lightning as L
from lightning.pytorch.callbacks import Callback

from omnial.distributed import collectives

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGUSR1")
"""Ctrl+C; the end of a job, and what batch systems send some time before it."""


class Interrupts(Callback):
    """Ends the run after the step in which a signal reached any of its processes.

    A second Ctrl+C does not wait for the step's end. A signal that the process ignores, as those
    that a shell starts in the background do, stays ignored.

    Attributes:
        stopped: Whether a signal, and not the budget, ended the run.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._received = False
        self._replaced: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen; Lightning's own handlers, which talk to other processes, are set by now."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._replaced[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """End the run if any process was told to."""
        if collectives.any_of(self._received) and not trainer.should_stop:
            self.stopped = trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen no longer."""
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Listen no longer."""
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = True

    def _restore(self) -> None:
        while self._replaced:
            signal.signal(*self._replaced.popitem())
