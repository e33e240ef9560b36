"""Exchange between the processes of a run. For a process alone, everything here is a no-op.

Every function but `together`, `rank` and `size` must be called by all processes, in the same order.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from omnial.errors import RunError, UserError

T = TypeVar("T")


def together() -> bool:
    """Whether this process shares its run with others."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number; 0 is the first one, and one alone."""
    return dist.get_rank() if together() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if together() else 1


def first(work: Callable[[], T]) -> T:
    """Let the first process do something; all get what it returns, or raise what it raises."""
    result = everyone(lambda: work() if rank() == 0 else None)
    if together():
        shared: list[Any] = [result]
        dist.broadcast_object_list(shared, src=0)
        result = result if rank() == 0 else shared[0]
    return cast(T, result)


@contextlib.contextmanager
def first_holds(hold: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Let the first process hold something for the length of a block, such as a folder's lock."""
    with contextlib.ExitStack() as stack:
        first(lambda: stack.enter_context(hold()))
        yield


def everyone(work: Callable[[], T]) -> T:
    """Let every process do something; where it fails in one, all raise: it its own error."""
    if not together():
        return work()
    result: T | None = None
    own: Exception | None = None
    try:
        result = work()
    except Exception as error:
        own = error
    errors: list[Exception | None] = [None] * size()
    dist.all_gather_object(errors, None if own is None else _portable(own))
    for failed in (own, *errors):
        if failed is not None:
            raise failed
    return cast(T, result)


def gather(work: Callable[[], T]) -> list[T]:
    """As `everyone`, with all results in order of rank in the first process; in the others none."""
    result = everyone(work)
    if not together():
        return [result]
    results: list[Any] | None = [None] * size() if rank() == 0 else None
    dist.gather_object(result, results, dst=0)
    return results or []


def from_first(value: float) -> float:
    """The first process's number, such as a time that its clock measured."""
    if not together():
        return value
    held = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(held, src=0)
    return float(held)


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if not together():
        return flag
    held = torch.tensor([int(flag)])
    dist.all_reduce(held, op=dist.ReduceOp.MAX)
    return bool(held)


def mean(values: Tensor) -> Tensor:
    """The mean over the processes of a tensor that all of them have; no gradient flows."""
    if not together():
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / size()


def _portable(error: Exception) -> Exception:
    """The error as other processes raise it: not every exception survives being sent."""
    for kind in (UserError, RunError):
        if isinstance(error, kind):
            return kind(str(error))
    return RunError(f"process {rank()}: {type(error).__name__}: {error}")
