"""Batches through a network on a processor: several at a time, a core each."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import torch
from torch import nn

from omnial.data.prefetch import prefetch

_MOST_CORES: Final = 8
"""Batches at a time: after a training, together they take no more memory than its steps."""
T = TypeVar("T")
R = TypeVar("R")


def cores_of(network: nn.Module) -> int:
    """How many batches of a network are computed at a time: one on a GPU."""
    on_cpu = next(network.parameters()).device.type == "cpu"
    return min(torch.get_num_threads(), _MOST_CORES) if on_cpu else 1


def on_each_core(work: Callable[[T], R], items: Iterable[T], network: nn.Module) -> Iterator[R]:
    """Map work of a network's in order: several items at a time on a processor.

    Two batches on a core each take less time than one after the other on both, and no core waits
    for one that another process keeps.
    """
    threads, cores = torch.get_num_threads(), cores_of(network)
    if cores == 1:
        yield from map(work, items)
        return
    torch.set_num_threads(threads // cores)  # of each thread that begins now
    try:
        yield from prefetch(work, items, cores)
    finally:
        torch.set_num_threads(threads)
