"""What a launcher's variables say, and which runs they are refused for."""

from collections.abc import Mapping

import pytest

from omnial.config.load import load_settings
from omnial.config.settings import TrainingSettings
from omnial.distributed.launch import Processes, read_processes
from omnial.errors import UserError
from omnial.training.devices import check_processes

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "1",
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
}
SRUN = {
    "SLURM_JOB_ID": "4200017",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes()),
        (TORCHRUN, Processes(5, 8, 1, 4)),
        (SRUN, Processes(3, 4, 1, 2)),
        (SRUN | {"SLURM_NTASKS_PER_NODE": "4"}, Processes(3, 4, 1, 4)),
        # One torchrun on each machine, started by srun.
        (SRUN | TORCHRUN, Processes(5, 8, 1, 4)),
        # A shell inside an allocation of four tasks: nobody else runs this command.
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Processes()),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, Processes()),
    ],
)
def test_places(environment: Mapping[str, str], expected: Processes) -> None:
    assert read_processes(environment) == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (TORCHRUN | {"RANK": "x"}, "RANK is 'x'"),
        ({"TORCHELASTIC_RUN_ID": "1"}, "RANK is ''"),
        (TORCHRUN | {"RANK": "8"}, "contradict"),
        (TORCHRUN | {"WORLD_SIZE": "7"}, "contradict"),
        (TORCHRUN | {"LOCAL_RANK": "4"}, "contradict"),
        (SRUN | {"SLURM_NTASKS_PER_NODE": ""}, "--ntasks-per-node"),
    ],
)
def test_variables_that_do_not_fit_are_refused(environment: Mapping[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_processes(environment)


def training(*overrides: str) -> TrainingSettings:
    return load_settings(overrides=["training.accelerator=cpu", *overrides]).training


@pytest.mark.parametrize(
    ("overrides", "world"),
    [
        (["training.batch_size=8"], Processes()),
        (["training.batch_size=8"], Processes(0, 8, 0, 4)),
        (["training.batch_size=8", "training.devices=4"], Processes(0, 8, 0, 4)),
        (["training.batch_size=8", "training.num_nodes=2"], Processes(0, 8, 0, 4)),
    ],
)
def test_runs_that_fit(overrides: list[str], world: Processes) -> None:
    check_processes(training(*overrides), world)


@pytest.mark.parametrize(
    ("overrides", "world", "said"),
    [
        (["training.batch_size=6"], Processes(0, 4, 0, 4), "which 4 processes cannot share"),
        (["training.devices=2"], Processes(), "--devices"),
        (["training.num_nodes=2"], Processes(), "torchrun or srun"),
        (["training.devices=3"], Processes(0, 2, 0, 2), "the launcher decides"),
        (["training.num_nodes=3"], Processes(0, 4, 0, 2), "the launcher decides"),
    ],
)
def test_runs_that_do_not_fit(overrides: list[str], world: Processes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_processes(training(*overrides), world)
