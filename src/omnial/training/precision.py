"""Which arithmetic the training uses: read off the device, never timed, so that a rerun agrees."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import torch

from omnial.config.settings import TrainingSettings

Precision = Literal["fp32", "bf16"]

LIGHTNING_NAMES: Final[Mapping[Precision, Literal["32-true", "bf16-mixed"]]] = MappingProxyType(
    {"fp32": "32-true", "bf16": "bf16-mixed"}
)
"""Lightning's names of the same."""


def on_gpu(settings: TrainingSettings) -> bool:
    """Whether the run trains on a GPU."""
    return settings.accelerator != "cpu" and torch.cuda.is_available()


def choose_precision(settings: TrainingSettings) -> tuple[Precision, str]:
    """The precision of a run, and why.

    `auto` takes bf16 where the device computes it in hardware: GPUs from Ampere on, processors
    with AMX or AVX-512 bf16.
    """
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
