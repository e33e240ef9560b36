"""Which devices and arithmetic a run uses: read off the machine, so that a rerun agrees."""

from typing import Literal

import torch

from omnial.config.settings import TrainingSettings
from omnial.distributed.launch import Processes
from omnial.errors import UserError

Precision = Literal["fp32", "bf16"]


def on_gpu(settings: TrainingSettings) -> bool:
    """Whether the run trains on a GPU."""
    return settings.accelerator != "cpu" and torch.cuda.is_available()


def choose_precision(settings: TrainingSettings) -> tuple[Precision, str]:
    """The precision of a run, and why: `auto` takes bf16 where the device has it in hardware."""
    if settings.precision != "auto":
        return settings.precision, "as asked for"
    if on_gpu(settings):
        if torch.cuda.get_device_capability()[0] >= 8:
            return "bf16", "the GPU has bf16 matrix units"
        return "fp32", "the GPU has no bf16 matrix units"
    if torch.cpu._is_amx_tile_supported():
        return "bf16", "the processor has AMX"
    if torch.cpu._is_avx512_bf16_supported():
        return "bf16", "the processor has AVX-512 bf16"
    return "fp32", "the processor has no bf16 arithmetic"


def check_processes(training: TrainingSettings, processes: Processes) -> None:
    """Refuse a run that its processes cannot share, before anything is done."""
    size, local_size = processes.size, processes.local_size
    for name, wanted, found, what in (
        ("training.devices", training.devices, local_size, "processes on this machine"),
        ("training.num_nodes", training.num_nodes, size // local_size, "machines"),
    ):
        if wanted not in (1, found):
            advice = (
                "leave the setting out, the launcher decides"
                if size > 1
                else "start it with `omnial train --devices N`, torchrun or srun"
            )
            raise UserError(f"{name} is {wanted}, but the run has {found} {what}: {advice}")
    if training.batch_size % size:
        raise UserError(
            f"training.batch_size is {training.batch_size}, which {size} processes cannot "
            "share equally: choose a multiple"
        )
    if size > 1 and on_gpu(training) and torch.cuda.device_count() < local_size:
        raise UserError(
            f"this machine shows {torch.cuda.device_count()} GPUs to each of its "
            f"{local_size} processes: start one for each GPU, and let each see all of them"
        )
