"""Adam alone, or Muon for kernels: against PyTorch's own, and against singular values."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from omnial.config.load import load_settings
from omnial.models.channels_last import to_channels_last
from omnial.models.system import build_model
from omnial.training.optimizer import Muon, make_optimizers, orthogonal, take_step

RATE = 1e-2


def iterated(matrix: Tensor) -> Tensor:
    """The polynomial step by step on the matrix itself, in float64."""
    x = matrix.double()
    x = x / x.norm()
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x


def kernels(channels_last: bool = True) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 3, 3, 3), (64, 8, 1, 1), (16, 1, 3, 3), (12, 16, 2, 2), (8, 3, 3, 3)]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    return [nn.Parameter(value.contiguous(memory_format=layout)) for value in values]


def give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)


@given(
    st.lists(st.tuples(st.integers(1, 24), st.integers(1, 24)), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_matrices_of_any_shapes_are_each_iterated(shapes: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    for found, matrix in zip(orthogonal(matrices), matrices, strict=True):
        torch.testing.assert_close(found.double(), iterated(matrix), atol=2e-4, rtol=0)


def test_singular_values_come_near_one_and_vectors_stay() -> None:
    matrix = torch.randn(24, 96, generator=torch.Generator().manual_seed(1))
    (found,) = orthogonal([matrix])
    assert torch.linalg.svdvals(found).sub(1.0).abs().max() < 0.4
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    middle = left.mT @ found @ right.mT
    torch.testing.assert_close(middle, torch.diag(middle.diagonal()), atol=1e-4, rtol=0)


@pytest.mark.parametrize("matrix", [torch.zeros(4, 6), torch.full((4, 6), 1e-30)])
def test_no_gradient_is_no_step_and_no_nan(matrix: Tensor) -> None:
    (found,) = orthogonal([matrix])
    assert found.abs().max() < 1e-6


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_are_those_of_pytorch(channels_last: bool, decay: float) -> None:
    ours = kernels(channels_last)
    layouts = [kernel.stride() for kernel in ours]
    theirs = [nn.Parameter(k.detach().permute(0, 2, 3, 1).flatten(1).clone()) for k in ours]
    muon = Muon(ours, RATE, decay)
    reference = torch.optim.Muon(
        theirs, lr=RATE, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        give_gradients(ours, step)
        for matrix, kernel in zip(theirs, ours, strict=True):
            assert kernel.grad is not None
            matrix.grad = kernel.grad.permute(0, 2, 3, 1).flatten(1).clone()
        muon.step()
        reference.step()
    for kernel, matrix, start in zip(ours, theirs, kernels(channels_last), strict=True):
        found = (kernel - start).permute(0, 2, 3, 1).flatten(1)
        wanted = matrix - start.permute(0, 2, 3, 1).flatten(1)
        # PyTorch's iterates in bfloat16.
        assert (found - wanted).norm() < 0.03 * wanted.norm()
    assert [kernel.stride() for kernel in ours] == layouts


def test_a_state_goes_on_where_it_was() -> None:
    first = kernels()
    second = [nn.Parameter(kernel.detach().clone()) for kernel in first]
    muons = [Muon(parameters, RATE, 0.0) for parameters in (first, second)]
    give_gradients(first, 0)
    muons[0].step()
    muons[1].load_state_dict(copy.deepcopy(muons[0].state_dict()))
    for one, other in zip(first, second, strict=True):
        other.data.copy_(one.data)
    for parameters, muon in zip((first, second), muons, strict=True):
        give_gradients(parameters, 1)
        muon.step()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("size", ["lite", "paper"])
def test_every_parameter_has_one_optimizer(size: str) -> None:
    settings = load_settings(size=size)
    with torch.device("meta"):
        network = build_model(settings.model)
    optimizers = make_optimizers(network, settings.training)
    shares = [[p for g in optimizer.param_groups for p in g["params"]] for optimizer in optimizers]
    found = sorted(id(parameter) for share in shares for parameter in share)
    assert found == sorted(map(id, network.parameters()))
    assert isinstance(optimizers[0], torch.optim.Adam)
    if settings.training.optimizer == "adam":
        assert len(optimizers) == 1
    else:
        assert isinstance(optimizers[1], Muon)
        assert all(parameter.ndim == 4 and len(parameter) >= 8 for parameter in shares[1])
        assert not any(parameter.ndim == 4 and len(parameter) >= 8 for parameter in shares[0])


def test_a_network_without_kernels_is_left_to_adam() -> None:
    settings = load_settings(overrides=["training.optimizer=muon"]).training
    (adam,) = make_optimizers(nn.Linear(3, 2), settings)
    assert isinstance(adam, torch.optim.Adam)


def test_all_take_the_rate_of_the_step() -> None:
    settings = load_settings(size="tiny", overrides=["training.optimizer=muon"])
    network = to_channels_last(build_model(settings.model))
    give_gradients(list(network.parameters()), 0)
    before = copy.deepcopy(network.state_dict())
    optimizers = make_optimizers(network, settings.training)
    take_step(optimizers, 0.0)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    take_step(optimizers, 1e-3)
    moved = [not torch.equal(before[name], p) for name, p in network.named_parameters()]
    assert all(moved)
