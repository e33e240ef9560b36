"""All threads of the processor or one: whichever trains faster beside the machine's other work.

A step is a thousand short parallel loops, and each of them waits for its last thread. Where another
process keeps a core busy, that thread is not running: two threads then take 3.6 times as long as
on a quiet machine, one thread 1.8 times. And one thread leaves a core to draw the next step on.
"""

import contextlib
import logging
import os
import statistics
from collections.abc import Callable, Iterator
from typing import Final

import torch

_FIRST: Final = 20
"""Steps before the first comparison: they allocate memory, and a time budget is measured."""
_EACH: Final = 5
"""Steps on each number of threads, whose median counts."""
_SLOW: Final = 20
"""So many steps in a row at less than half the pace, and the choice is made again."""
_AGAIN: Final = 1000
"""Steps after which one thread is compared with all again."""

_logger = logging.getLogger(__name__)


class ThreadChoice:
    """The number of threads of a training on this processor, of so many; of one is no choice."""

    def __init__(self, threads: int) -> None:
        self.threads = self._all = threads
        self._left = _FIRST  # steps until the next comparison
        self._taken: dict[int, list[float]] = {}
        self._reduced = False
        self._pace: dict[bool, float] = {}
        self._recent: list[float] = []

    def count(self, seconds: float, reduced: bool) -> int:
        """The threads of the next step after one that took so long, on images of either size."""
        if self._all == 1:
            return 1
        if reduced != self._reduced:  # steps of two sizes are not compared
            self._reduced = reduced
            self._recent.clear()
            if self._taken or self._pace:  # and the faster number may be another one
                self._compare()
        elif self._taken:
            self._taken[self.threads].append(seconds)
            if len(self._taken[self.threads]) == _EACH:
                self._next()
        else:
            self._watch(seconds)
        return self.threads

    def _compare(self) -> None:
        self._taken, self.threads = {self._all: []}, self._all

    def _next(self) -> None:
        if self.threads == self._all:
            self._taken[1], self.threads = [], 1
            return
        paces = {threads: statistics.median(taken) for threads, taken in self._taken.items()}
        self.threads = min(paces, key=lambda threads: paces[threads])
        self._pace = {self._reduced: paces[self.threads]}
        # All threads see by their pace that a core is taken; one alone does not see it come free.
        self._taken, self._left = {}, _AGAIN if self.threads == 1 else -1
        if self.threads == 1:
            text = "one thread trains %.1f times as fast as %d, beside the machine's other work or "
            gain = paces[self._all] / paces[1]
            _logger.info(text + "the drawing of the next step", gain, self._all)

    def _watch(self, seconds: float) -> None:
        self._left -= 1
        self._recent = [*self._recent, seconds][-_SLOW:]
        is_slow = False
        if len(self._recent) == _SLOW:
            pace = self._pace.setdefault(self._reduced, statistics.median(self._recent))
            is_slow = min(self._recent) > 2.0 * pace
        if is_slow or self._left == 0:
            self._recent.clear()
            self._compare()


@contextlib.contextmanager
def chosen_threads(*, fixed: bool) -> Iterator[Callable[[float, bool], None]]:
    """Train within the block on the faster number of threads: call the result after each step.

    Where `OMP_NUM_THREADS` has set the number, or it is fixed otherwise, it stays.
    """
    before = torch.get_num_threads()
    choice = ThreadChoice(1 if fixed or "OMP_NUM_THREADS" in os.environ else before)

    def count(seconds: float, reduced: bool) -> None:
        threads = choice.threads
        if choice.count(seconds, reduced) != threads:
            torch.set_num_threads(choice.threads)

    try:
        yield count
    finally:
        torch.set_num_threads(before)
