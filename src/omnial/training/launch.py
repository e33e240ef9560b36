"""Whether a run fits the processes that it was started in, and how Lightning is told of them."""

from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from omnial.config.settings import TrainingSettings
from omnial.distributed.world import World
from omnial.errors import UserError
from omnial.training.precision import on_gpu


def check_launch(training: TrainingSettings, world: World) -> None:
    """Refuse a run that its processes cannot share, before anything is done.

    Raises:
        UserError: The settings ask for another number of processes than were started, there are
            fewer GPUs than processes, or the batch cannot be shared equally.
    """
    asked = {
        "training.devices": (training.devices, world.local_size, "processes on this machine"),
        "training.num_nodes": (training.num_nodes, world.nodes, "machines"),
    }
    for name, (wanted, found, what) in asked.items():
        if wanted not in (1, found):
            mend = (
                "leave the setting out, the launcher decides"
                if world.size > 1
                else "start it with `omnial train --devices N`, torchrun or srun"
            )
            raise UserError(f"{name} is {wanted}, but the run has {found} {what}: {mend}")
    if training.batch_size % world.size:
        raise UserError(
            f"training.batch_size is {training.batch_size}, which {world.size} processes cannot "
            "share equally: choose a multiple"
        )
    if world.size > 1 and on_gpu(training) and torch.cuda.device_count() < world.local_size:
        raise UserError(
            f"this machine shows {torch.cuda.device_count()} GPUs to each of its "
            f"{world.local_size} processes: start one for each GPU, and let each see all of them"
        )


def trainer_options(training: TrainingSettings, world: World) -> dict[str, Any]:
    """What Lightning's trainer must know about devices and processes."""
    options: dict[str, Any] = {
        "accelerator": "gpu" if on_gpu(training) else "cpu",
        "devices": world.local_size,
        "num_nodes": world.nodes,
        "strategy": training.strategy,
    }
    if world.size > 1 and training.strategy == "auto":
        options["strategy"] = "ddp"
    return options


def environment_of(world: World) -> ClusterEnvironment:
    """The same places for Lightning, which would otherwise look for a launcher by itself."""
    return LightningEnvironment() if world.size == 1 else _Started(world)


class _Started(ClusterEnvironment):
    """Processes that are there and connected already."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise NotImplementedError("the processes are connected already")

    @property
    def main_port(self) -> int:
        raise NotImplementedError("the processes are connected already")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._world.size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._world.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._world.local_rank

    def node_rank(self) -> int:
        return self._world.rank // self._world.local_size
