"""Start a command as several processes on this machine: PyTorch's launcher, that of `torchrun`."""

import contextlib
import logging
import signal
import uuid
from collections.abc import Iterator, Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from omnial.errors import RunError

_THIS_MACHINE = "127.0.0.1"


def start_here(count: int, command: Sequence[str]) -> int:
    """Run a command as so many processes, and wait for them.

    A signal that ends this process is passed on, and the processes get 30 seconds to end. When
    one fails, the others are ended.

    Args:
        count: Number of processes.
        command: Program and arguments, the same for all; they share this process's output.

    Returns:
        0, or the exit code of the process that failed first.

    Raises:
        KeyboardInterrupt: This process was told to end, and all have.
        RunError: A process was killed.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{_THIS_MACHINE}:0",
        local_addr=_THIS_MACHINE,
        max_restarts=0,
    )
    try:
        with _quiet(), _own_signals():
            elastic_launch(config, command[0])(*command[1:])
    except SignalException as error:
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            raise RunError(
                f"process {rank} was killed ({name}); SIGKILL often says that memory ran out"
            ) from error
        return int(failure.exitcode)
    return 0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the launcher's reports off the screen: the processes report for themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Undo afterwards what the launcher does to this process's signals."""
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
