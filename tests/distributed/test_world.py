"""What a launcher's variables say, and which runs they are refused for."""

from collections.abc import Mapping

import pytest

from omnial.config.load import load_settings
from omnial.config.settings import TrainingSettings
from omnial.distributed.world import World, read_world, slurm_address
from omnial.errors import UserError
from omnial.training.launch import check_launch

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
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, World()),
        (TORCHRUN, World("torchrun", 5, 8, 1, 4)),
        (SRUN, World("slurm", 3, 4, 1, 2)),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "4"}, World("slurm", 3, 4, 1, 4)),
        # One torchrun on each machine, started by srun.
        (SRUN | TORCHRUN, World("torchrun", 5, 8, 1, 4)),
        # A shell inside an allocation of four tasks: nobody else runs this command.
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, World()),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, World()),
    ],
)
def test_places(environment: Mapping[str, str], expected: World) -> None:
    assert read_world(environment) == expected


def test_machines_follow_from_the_places() -> None:
    assert [read_world(e).nodes for e in ({}, TORCHRUN, SRUN)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (TORCHRUN | {"RANK": "x"}, "RANK is 'x'"),
        ({"TORCHELASTIC_RUN_ID": "1"}, "RANK is ''"),
        (TORCHRUN | {"RANK": "8"}, "contradict"),
        (TORCHRUN | {"WORLD_SIZE": "7"}, "contradict"),
        (TORCHRUN | {"LOCAL_RANK": "4"}, "contradict"),
        (SRUN | {"SLURM_STEP_TASKS_PER_NODE": "3,1"}, "--ntasks-per-node"),
    ],
)
def test_variables_that_do_not_fit_are_refused(environment: Mapping[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_world(environment)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu[07-08]", "gpu07"),
        ("gpu[3,5-9]", "gpu3"),
        ("node12", "node12"),
        ("node12,node14", "node12"),
        ("rack[2-3]-ib,other", "rack2-ib"),
        ("c1-n[001-004],c2-n001", "c1-n001"),
    ],
)
def test_the_processes_of_a_slurm_step_meet_on_its_first_machine(nodes: str, host: str) -> None:
    assert slurm_address(SRUN | {"SLURM_STEP_NODELIST": nodes}) == (host, 15017)


def test_an_address_of_the_users_wins() -> None:
    own = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert slurm_address(SRUN | own) == ("10.0.0.1", 29500)
    with pytest.raises(UserError, match="MASTER_ADDR"):
        slurm_address({})


def training(*overrides: str) -> TrainingSettings:
    return load_settings(overrides=["training.accelerator=cpu", *overrides]).training


@pytest.mark.parametrize(
    ("overrides", "world"),
    [
        (["training.batch_size=8"], World()),
        (["training.batch_size=8"], World("torchrun", 0, 8, 0, 4)),
        (["training.batch_size=8", "training.devices=4"], World("torchrun", 0, 8, 0, 4)),
        (["training.batch_size=8", "training.num_nodes=2"], World("torchrun", 0, 8, 0, 4)),
    ],
)
def test_runs_that_fit(overrides: list[str], world: World) -> None:
    check_launch(training(*overrides), world)


@pytest.mark.parametrize(
    ("overrides", "world", "said"),
    [
        (["training.batch_size=6"], World("slurm", 0, 4, 0, 4), "which 4 processes cannot share"),
        (["training.devices=2"], World(), "--devices"),
        (["training.num_nodes=2"], World(), "torchrun or srun"),
        (["training.devices=3"], World("torchrun", 0, 2, 0, 2), "the launcher decides"),
        (["training.num_nodes=3"], World("torchrun", 0, 4, 0, 2), "the launcher decides"),
    ],
)
def test_runs_that_do_not_fit(overrides: list[str], world: World, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_launch(training(*overrides), world)
