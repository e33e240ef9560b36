import pytest
import torch
import torch.nn.functional as F
from torch import nn

from omnial.models.blocks import make_norm
from omnial.models.channels_last import InstanceNorm, pack, unpack

LAYOUTS = [torch.channels_last, torch.contiguous_format]


def features(layout: torch.memory_format, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = 3.0 + 2.0 * torch.randn(3, 5, 6, 7, generator=generator)
    return values.to(dtype).contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_channel_of_each_image_has_mean_0_and_variance_1(layout: torch.memory_format) -> None:
    normed = InstanceNorm()(features(layout))
    variance, mean = torch.var_mean(normed, (2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(variance, torch.ones(3, 5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_is_the_one_of_the_library(layout: torch.memory_format) -> None:
    ours, theirs = features(layout), features(torch.contiguous_format)
    weights = torch.randn(3, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    (InstanceNorm()(ours) * weights).sum().backward()
    (F.instance_norm(theirs) * weights).sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    assert ours.grad.is_contiguous(memory_format=layout)


def test_gradient_against_finite_differences() -> None:
    values = features(torch.channels_last, torch.float64)
    # The exact layout that the kernels see; double precision is the same code.
    assert torch.autograd.gradcheck(InstanceNorm(), (values,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mean", [0.0, 3.0, 100.0, 1000.0])
@pytest.mark.parametrize(
    "norm", [InstanceNorm(), nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True)]
)
def test_statistics_of_half_precision_are_those_of_float32(
    norm: nn.Module, mean: float, layout: torch.memory_format
) -> None:
    """Of the same bf16 values, far from zero too, only the result is rounded."""
    generator = torch.Generator().manual_seed(2)
    deviation = max(1.0, mean / 200)  # half a step of bf16 there
    values = mean + deviation * torch.randn(2, 8, 16, 16, generator=generator)
    slopes = torch.randn(2, 8, 16, 16, generator=generator).bfloat16()
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        source = values.bfloat16().to(dtype).contiguous(memory_format=layout).requires_grad_()
        normed = norm(source)
        normed.backward(slopes.to(dtype).contiguous(memory_format=layout))
        assert source.grad is not None
        found.append((normed.detach().float(), source.grad.float()))
    (ours, ours_grad), (exact, exact_grad) = found
    torch.testing.assert_close(ours, exact, rtol=2**-8, atol=1e-5)
    torch.testing.assert_close(
        ours_grad, exact_grad, rtol=2**-7, atol=float(exact_grad.abs().max()) * 2**-8
    )


def test_layout_and_type_are_kept() -> None:
    normed = InstanceNorm()(features(torch.channels_last, torch.bfloat16))
    assert normed.dtype is torch.bfloat16
    assert normed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_single_values_have_no_deviation(layout: torch.memory_format) -> None:
    with pytest.raises(ValueError, match="1"):
        InstanceNorm()(torch.rand(2, 3, 1, 1).contiguous(memory_format=layout))


def test_norms_by_name() -> None:
    assert not list(make_norm("instance", 4).parameters())
    assert sum(parameter.numel() for parameter in make_norm("batch", 4).parameters()) == 8


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_packing_is_pixel_unshuffle_and_back(stem: int, layout: torch.memory_format) -> None:
    images = torch.rand(2, 3, 16, 24).contiguous(memory_format=layout)
    packed = pack(images, stem)
    assert torch.equal(packed, F.pixel_unshuffle(images, stem))
    assert torch.equal(unpack(packed, stem), images)
    assert torch.equal(unpack(packed.contiguous(), stem), images)


def test_layouts_are_those_of_the_next_step() -> None:
    packed = pack(torch.rand(2, 3, 16, 24), 4)
    assert packed.is_contiguous(memory_format=torch.channels_last)
    assert unpack(packed, 4).is_contiguous()
