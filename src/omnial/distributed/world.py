"""Which of several processes this one is, as its launcher says in the environment.

Three launchers are known: `torchrun`, whose variables `--devices` sets too, SLURM's `srun`, and
none. A SLURM allocation without `srun` is none: the variables of a job say nothing about who
shares a run, those of a job *step* do.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from omnial.errors import UserError

Launcher = Literal["none", "torchrun", "slurm"]

_BASE_PORT = 15000
_PORTS = 10000


@dataclass(frozen=True)
class World:
    """The processes of a run, as one of them sees them.

    Attributes:
        launcher: What started them.
        rank: This process, 0 to size - 1.
        size: Processes on all machines.
        local_rank: This process among those of its machine.
        local_size: Processes on this machine, the same on every machine.
    """

    launcher: Launcher = "none"
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.size // self.local_size


def read_world(environment: Mapping[str, str] = os.environ) -> World:
    """Read this process's place from the environment; alone where no launcher left its variables.

    Raises:
        UserError: The variables are incomplete or contradict each other, or the machines of a
            SLURM step have different numbers of processes.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        torchrun = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return _checked(World("torchrun", *(_number(environment, name) for name in torchrun)))
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        srun = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        rank, size, local_rank = (_number(environment, name) for name in srun)
        layout = environment.get("SLURM_STEP_TASKS_PER_NODE", str(size))
        # "4" is one machine, "4(x2)" two alike, "4,2" two that differ.
        alike = re.fullmatch(r"(\d+)(?:\(x\d+\))?", layout)
        if alike is None:
            raise UserError(
                f"SLURM placed {layout} processes on the machines: every machine must have the "
                "same number. Give srun --nodes and --ntasks-per-node."
            )
        return _checked(World("slurm", rank, size, local_rank, int(alike[1])))
    return World()


def slurm_address(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Host and port at which the processes of a SLURM step meet: the step's first machine.

    `MASTER_ADDR` and `MASTER_PORT` win. The port follows from the job's number, so that jobs that
    share a machine do not share a port.

    Raises:
        UserError: SLURM does not name the machines.
    """
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", ""))
    # The first of "host3", "host[05-08,11]" and "host3,other7".
    first = re.match(r"([^,\[]+)(?:\[([^],-]+)[^]]*\]([^,]*))?", nodes)
    host = environment.get("MASTER_ADDR") or ("".join(first.groups("")) if first else "")
    if not host:
        raise UserError("SLURM does not name the machines of this step: set MASTER_ADDR to one.")
    job = int(environment.get("SLURM_JOB_ID", "0")) % _PORTS
    return host, int(environment.get("MASTER_PORT") or _BASE_PORT + job)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not value.isdecimal():
        raise UserError(
            f"the environment variable {name} is {value!r}, not a number: start the processes "
            "with torchrun, srun or --devices"
        )
    return int(value)


def _checked(world: World) -> World:
    if not (
        0 <= world.rank < world.size
        and 0 <= world.local_rank < world.local_size <= world.size
        and world.size % world.local_size == 0
    ):
        raise UserError(
            f"the launcher's variables contradict each other: process {world.rank} of "
            f"{world.size}, on its machine {world.local_rank} of {world.local_size}. Start the "
            "same number of processes on every machine."
        )
    return world
