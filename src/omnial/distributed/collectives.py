"""What the processes of a run tell each other. For a process alone, everything here is a no-op.

Every function but `joined`, `together`, `rank` and `size` must be called by all processes, in the
same order.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from omnial.distributed.world import World, slurm_address
from omnial.errors import RunError, UserError

T = TypeVar("T")

# The first process checks all files, and sets the thresholds, while the others wait. A process
# that is gone is noticed at once, by its closed connections or by its launcher.
_PATIENCE = datetime.timedelta(hours=12)
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


@contextlib.contextmanager
def joined(world: World, gpu: bool) -> Iterator[None]:
    """Connect the processes of a run for the length of a block, and share out the cores.

    Args:
        world: This process's place; alone, or where they are connected already, nothing is done.
        gpu: Each process computes on a GPU of its own, that of its local rank.

    Raises:
        RunError: The others cannot be reached, or one of them has ended meanwhile.
    """
    if world.size == 1 or together():
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_of(world, threads))
    if gpu:
        torch.cuda.set_device(world.local_rank)
    try:
        _connect(world, gpu)
        try:
            yield
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        if any(sign in str(error) for sign in _GONE):
            raise RunError(
                "another process of this run has ended; its own message says why"
            ) from error
        raise
    finally:
        torch.set_num_threads(threads)


def threads_of(world: World, alone: int) -> int:
    """Threads for each of the processes on a machine, so that all of them together fit its cores.

    Args:
        world: The processes.
        alone: What PyTorch would take for one process, which is the cores that it may use.

    Returns:
        `alone` where the user or SLURM has shared out the cores already; else its equal part.
    """
    if world.launcher == "slurm" and "SLURM_CPUS_PER_TASK" in os.environ:
        return alone
    return share_of_threads(alone, world.local_size)


def share_of_threads(alone: int, processes: int) -> int:
    """The equal part of so many threads, or all of them where `OMP_NUM_THREADS` has set them."""
    return alone if "OMP_NUM_THREADS" in os.environ else max(1, alone // processes)


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
    if not together():
        return work()
    outcome: list[Any] = [None, None]
    result: T | None = None
    own: Exception | None = None
    if rank() == 0:
        try:
            outcome[0] = result = work()
        except Exception as error:
            own, outcome[1] = error, _portable(error)
    dist.broadcast_object_list(outcome, src=0)
    _raise_one(own, outcome[1:])
    return cast(T, result if rank() == 0 else outcome[0])


@contextlib.contextmanager
def first_holds(hold: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Let the first process hold something for the length of a block, such as a folder.

    Raises:
        Exception: What `hold` raised on entering, in all of them.
    """
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
    _raise_one(own, errors)
    return cast(T, result)


def gather(work: Callable[[], T]) -> list[T]:
    """Let every process do something, and bring the results to the first one in order of rank.

    Returns:
        In the first process what each made; in the others nothing.

    Raises:
        Exception: What the work raised in any of them.
    """
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
    if isinstance(error, UserError):
        return UserError(str(error))
    if isinstance(error, RunError):
        return RunError(str(error))
    return RunError(f"process {rank()}: {type(error).__name__}: {error}")


def _raise_one(own: Exception | None, errors: Sequence[Exception | None]) -> None:
    for error in (own, *errors):
        if error is not None:
            raise error


def _connect(world: World, gpu: bool) -> None:
    # Decisions travel between the hosts, gradients between the GPUs.
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    method = "env://"
    if world.launcher == "slurm":
        host, port = slurm_address()
        method = f"tcp://{host}:{port}"
    try:
        dist.init_process_group(
            backend, init_method=method, rank=world.rank, world_size=world.size, timeout=_PATIENCE
        )
    except (dist.DistError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"process {world.rank} of {world.size} cannot reach the others: {reason}"
        ) from error
