"""A training step leaves the host free to run ahead of a GPU.

No GPU is needed. One test counts the operations that would make the host wait in a run of the
whole loop on the CPU, where copies to the host (cpu, numpy, tolist) cannot be told from none. The
other runs a step on tensors that have no values at all, so that whatever looks at one fails.
"""

import copy
import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.models.system import build_model
from omnial.training import drawing
from omnial.training.drawing import draw
from omnial.training.fit import train
from omnial.training.log import RunLog
from omnial.training.loop import TrainState, training_step
from omnial.training.sampler import Batch, BatchSampler

aten = torch.ops.aten

# Each of them brings a number to the host, or makes a tensor whose size depends on values.
VALUE_OPERATIONS = {
    aten._local_scalar_dense,
    aten.allclose,
    aten.bincount,
    aten.equal,
    aten.masked_select,
    aten.nonzero,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
}
MASKED_OPERATIONS = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}

MOST_WHEN_LOGGED = 2
"""The losses are read at once where they are logged (every 10 steps), and checked (every 20)."""

LOGGED = {9, 19}  # steps count from 0, and lines are written after 10 and 20 of them
STEPS = 24


def waits(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> bool:
    """Whether the host would wait for a GPU in this operation."""
    packet = operation.overloadpacket
    # A tensor made of Python numbers: on a GPU that is a copy from pageable host memory.
    if packet in VALUE_OPERATIONS or packet is aten.lift_fresh:
        return True
    if packet in MASKED_OPERATIONS:
        return any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
    if packet is aten.repeat_interleave:
        return kwargs.get("output_size") is None
    if packet in (aten._to_copy, aten.copy_):
        source = args[0]
        # The positions of a batch, which is in pinned memory.
        if kwargs.get("non_blocking") and (source.device.type, source.dtype) == (
            "cpu",
            torch.int64,
        ):
            return False
        leaves = tree_leaves((args, result))
        return len({leaf.device for leaf in leaves if isinstance(leaf, Tensor)}) > 1
    return False


class Waits(TorchDispatchMode):
    """Counts where the host would wait, by step; nothing while there is no step."""

    def __init__(self, step: int | None = None) -> None:
        super().__init__()
        self.step = step
        self.sites: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        if self.step is not None and waits(operation, args, kwargs or {}, result):
            self.sites[self.step][site()] += 1
        return result


def site() -> str:
    """File and function of the innermost call outside PyTorch and this class."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        inside = path == Path(__file__) and frame.name in ("site", "__torch_dispatch__")
        if not inside and not path.is_relative_to(Path(torch.__file__).parent):
            return f"{path.parent.name}/{path.name}:{frame.name}"
    raise AssertionError("no caller")


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x[0].item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: 1 if x.sum() > 0 else 2,
        lambda x: x.nonzero(),
        lambda x: torch.where(x > 0),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.index_put(x, (x > 0,), torch.zeros(2)),
        lambda x: x.unique(),
        lambda x: x.unique_consecutive(),
        lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.int64)),
        lambda x: torch.equal(x, x),
        lambda x: torch.allclose(x, x),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.to("meta"),
        lambda x: x.to("meta", non_blocking=True),
        lambda x: x.long().to("meta"),
        lambda x: torch.empty(3, device="meta").copy_(x),
    ],
)
def test_the_counter_sees_what_makes_the_host_wait(operation: Callable[[Tensor], object]) -> None:
    values, counter = torch.tensor([1.0, -2.0, 3.0]), Waits(step=7)
    with counter:
        operation(values)
    assert set(counter.sites) == {7}
    (found,) = counter.sites[7]
    assert found == "training/test_no_synchronisation.py:<lambda>"


def test_the_counter_lets_other_operations_pass() -> None:
    values, positions = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2, 0])
    twos = torch.tensor([2, 2, 2])
    with Waits(step=0) as counter:
        torch.where(values > 0, values, 0.0)
        values[positions] + values[:2]
        values.index_put((positions,), torch.zeros(2))
        values.repeat_interleave(twos, output_size=6)
        values.double().clone().clamp_(max=2.0).sort()
        torch.full((3,), 1.5).copy_(values)
        torch.arange(3, device="meta") + 1
        positions.to("meta", non_blocking=True)
    assert not counter.sites
    with Waits() as counter:
        values.sum().item()
    assert not counter.sites


def settings(*overrides: str, system: str = "omnial") -> Settings:
    small = ["data.height=64", "data.width=64", "model.stem=4", "training.batch_size=2"]
    return load_settings(system=system, size="tiny", overrides=[*small, *overrides])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    generate(folder, seed=2, classes=CLASS_NAMES[:2], size=64, train=6, test_good=1, per_kind=1)
    return folder


@pytest.mark.parametrize(
    ("precision", "terminal"),
    [("fp32", True), ("bf16", False)],
)
def test_the_loop_waits_only_where_it_logs(
    precision: str,
    terminal: bool,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Waits()
    batch, close = BatchSampler.batch, RunLog.close

    def making(self: BatchSampler, step: int) -> Batch:
        # Batches are made on the host, whatever the device.
        counter.step = None
        made = batch(self, step)
        counter.step = step  # until the next one starts: checks and logs count
        return made

    def closing(self: RunLog) -> None:
        counter.step = None
        close(self)

    monkeypatch.setattr(BatchSampler, "batch", making)
    monkeypatch.setattr(RunLog, "close", closing)
    monkeypatch.setattr(drawing, "available_cores", lambda: 1)  # in this thread, in turn
    wanted = settings(
        f"training.steps={STEPS}",
        f"training.precision={precision}",
        "training.checkpoint_minutes=1000",  # however slow the machine
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)  # shows a bar
    with counter:
        train(wanted, [data], tmp_path / "model", resume=False, progress=terminal)
    # The first step sets up the optimizer's state, and the last one saves the run.
    for step in range(1, STEPS - 1):
        found = Counter(counter.sites[step])
        if step in LOGGED:
            assert found.total() <= MOST_WHEN_LOGGED
        else:
            assert not found, f"the host waits in step {step}"
    assert counter.sites[19]  # the counter does watch the loop


@pytest.mark.parametrize("step", [3, 9, 10, 11], ids=["mixed", "logged", "whole", "half"])
@pytest.mark.parametrize("system", ["omnial", "draem", "jnld-panels"])
def test_a_step_looks_at_no_value_and_copies_nothing_from_the_host(system: str, step: int) -> None:
    shares = ("training.quarter_share=0.5", "training.half_share=0.5")
    wanted = settings(*shares, system=system)
    network = build_model(wanted.model).to("meta")
    # Adam's fused kernel does not take tensors without values.
    optimizer = torch.optim.SGD(network.parameters())
    state = TrainState(network, network, [optimizer], copy.deepcopy(network), step)
    batch = Batch(
        positions=torch.arange(2),
        images=torch.empty(2, 3, 64, 64, dtype=torch.uint8, device="meta"),
        textures=torch.empty(2, 3, 64, 64, device="meta"),
        region=torch.empty(2, 1, 64, 64, dtype=torch.bool, device="meta"),
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    # The first one makes the constant filters, which are kept.
    training_step(state, draw(batch, wanted, step, 20), wanted, fabric)
    with Waits(step=step) as counter:
        result = training_step(state, draw(batch, wanted, step, 20), wanted, fabric)
    assert (result.loss.device.type, result.gradient_norm.device.type) == ("meta", "meta")
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert not counter.sites[step]
