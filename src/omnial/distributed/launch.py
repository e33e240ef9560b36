"""Which of several processes this one is, and how they are started and connected.

Three launchers are known: `torchrun`, which `--devices` uses too, SLURM's `srun`, and none. A SLURM
allocation without `srun` is none: the variables of a job say nothing about who shares a run, those
of a job *step* do.
"""

import contextlib
import datetime
import logging
import os
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from omnial.errors import RunError, UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
_THIS_MACHINE = "127.0.0.1"
# The first process checks all files, and sets the thresholds, while the others wait. A process
# that is gone is noticed at once, by its closed connections or by its launcher.
_PATIENCE = datetime.timedelta(hours=12)
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


class Processes(NamedTuple):
    """The processes of a run, as one of them sees them; a single one by default."""

    rank: int = 0
    """This process, 0 to size - 1."""
    size: int = 1
    """Processes on all machines."""
    local_rank: int = 0
    """This process among those of its machine."""
    local_size: int = 1
    """Processes on this machine, the same on every machine."""


def read_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes that the launcher's variables, which must not contradict, describe."""
    if "TORCHELASTIC_RUN_ID" in environment:
        names = _TORCHRUN
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        names = _SRUN
    else:
        return Processes()
    for name in names:
        if not environment.get(name, "").isdecimal():
            raise UserError(
                f"the environment variable {name} is {environment.get(name, '')!r}, not a number: "
                "start the processes with --devices, torchrun, or srun with --nodes and "
                "--ntasks-per-node"
            )
    found = Processes(*(int(environment[name]) for name in names))
    if not (
        0 <= found.rank < found.size
        and 0 <= found.local_rank < found.local_size <= found.size
        and found.size % found.local_size == 0
    ):
        raise UserError(
            f"the launcher's variables contradict each other: process {found.rank} of "
            f"{found.size}, on its machine {found.local_rank} of {found.local_size}. Start the "
            "same number of processes on every machine."
        )
    return found


def share_of_threads(alone: int, processes: int) -> int:
    """The equal part of so many threads, or all of them where `OMP_NUM_THREADS` has set them."""
    return alone if "OMP_NUM_THREADS" in os.environ else max(1, alone // processes)


@contextlib.contextmanager
def launched(*, gpu: bool, strategy: str = "auto") -> Iterator["Fabric"]:
    """Connect the processes of a run for the length of a block, and share out the cores.

    On GPUs each process has one of its own, that of its local rank. The strategy is Fabric's;
    `auto` is DDP for several processes.

    Raises:
        RunError: The others cannot be reached, or one of them has ended meanwhile.
    """
    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import ClusterEnvironment
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    from omnial.distributed.collectives import together

    processes, nested = read_processes(), together()
    if processes.size == 1:
        environment: ClusterEnvironment = LightningEnvironment()
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        environment = TorchElasticEnvironment()
    else:
        environment = SLURMEnvironment(auto_requeue=False)
    # Decisions travel between the hosts, gradients between the GPUs.
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    ddp = DDPStrategy(process_group_backend=backend, timeout=_PATIENCE)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    threads = torch.get_num_threads()
    try:
        fabric = Fabric(
            accelerator="cuda" if gpu else "cpu",
            devices=processes.local_size,
            num_nodes=processes.size // processes.local_size,
            strategy=ddp if processes.size > 1 and strategy == "auto" else strategy,
            plugins=[environment],
        )
        fabric.launch()
        yield fabric
    except RuntimeError as error:
        if any(sign in str(error) for sign in _GONE):
            raise RunError(
                "another process of this run has ended; its own message says why"
            ) from error
        if isinstance(error, torch.distributed.DistError):
            reason = str(error).splitlines()[0]
            raise RunError(f"the processes cannot reach each other: {reason}") from error
        raise
    finally:
        if together() and not nested:
            torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)


@contextlib.contextmanager
def connected(*, gpu: bool) -> Iterator[None]:
    """Connect the processes of a run, as `launched`; a process alone needs no Fabric for that."""
    with contextlib.ExitStack() as stack:
        if read_processes().size > 1:
            stack.enter_context(launched(gpu=gpu))
        yield


def start_here(count: int, command: Sequence[str]) -> int:
    """Run a command as so many processes on this machine, with the launcher of `torchrun`.

    They share this process's output. A signal that ends this process is passed on, and the
    processes get 30 seconds to end. When one fails, the others are ended. The result is 0, or the
    exit code of the process that failed first.

    Raises:
        KeyboardInterrupt: A signal ended this process, and all others.
        RunError: A process was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

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
    # The processes report for themselves, not the launcher for them.
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
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
    finally:
        logging.disable(level)
        # The launcher leaves its own behind.
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
    return 0
