"""Operations of a training step, and the bytes that they move: figures of no processor.

Every tensor that an operation reads or writes counts with its size, views count nothing. The
convolutions' own inputs and outputs are what no step can do without; the rest is passes over
memory between them.

    python -m benchmarks.memory_passes --size lite
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from benchmarks.common import Entries, entries, report
from benchmarks.training_step import Step
from omnial.config.load import load_settings

_CONVOLUTIONS = ("convolution", "convolution_backward")


class MemoryPasses(TorchDispatchMode):
    """Counts operations and bytes while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()
        """Operations whose large operands differ in memory format."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(result)
        storages = {tensor.untyped_storage().data_ptr() for tensor in given}
        is_view = all(tensor.untyped_storage().data_ptr() in storages for tensor in made)
        name = func.overloadpacket.__name__
        if made and is_view and not name.endswith("_"):
            return result
        self.operations[name] += 1
        self.bytes[name] += sum(_moved(tensor) for tensor in (*given, *made))
        formats = {_format(tensor) for tensor in (*given, *made) if tensor.ndim == 4}
        if {"contiguous", "channels-last"} <= formats:
            self.mixed[name] += 1
        return result

    def of_convolutions(self) -> int:
        """Bytes of the convolutions' inputs, weights and outputs."""
        return sum(self.bytes[name] for name in _CONVOLUTIONS)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _moved(tensor: Tensor) -> int:
    """Bytes of a tensor; what is expanded is read once."""
    sizes = (n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return int(torch.Size(sizes).numel()) * tensor.element_size()


def _format(tensor: Tensor) -> str:
    contiguous = tensor.is_contiguous()
    channels_last = tensor.is_contiguous(memory_format=torch.channels_last)
    if contiguous == channels_last:
        return "either"
    return "contiguous" if contiguous else "channels-last"


def count(size: str, batch: int) -> MemoryPasses:
    """The passes of one step on whole images, after a first step."""
    overrides = ["training.accelerator=cpu", "training.quarter_share=0"]
    settings = load_settings(size=size, overrides=[*overrides, f"training.batch_size={batch}"])
    step = Step(settings)
    step()
    with MemoryPasses() as passes:
        step()
    return passes


def measure(size: str = "lite", batch: int = 4) -> Entries:
    """Operations and bytes of a step."""
    passes = count(size, batch)
    moved, needed = passes.bytes.total(), passes.of_convolutions()
    command = f"python -m benchmarks.memory_passes --size {size} --batch {batch}"
    return entries(
        command,
        {
            "training_step_operations": (passes.operations.total(), "operations"),
            "training_step_bytes_vs_convolutions": (moved / needed, "ratio"),
            "training_step_mixed_formats": (passes.mixed.total(), "operations"),
        },
    )


def main(
    size: Annotated[str, typer.Option(help="A size.")] = "lite",
    batch: Annotated[int, typer.Option(help="Images a step.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    report("Memory passes of a training step", measure(size, batch), out)


if __name__ == "__main__":
    typer.run(main)
