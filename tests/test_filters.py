import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from omnial.filters import box_blur, gaussian_taps, separable, ssim_map


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 1, 37, 23, generator=torch.Generator().manual_seed(0))


def test_separable_filter_equals_scipy_with_mirrored_borders(images: torch.Tensor) -> None:
    taps = gaussian_taps(11, 1.5)
    expected = ndimage.correlate1d(images.double().numpy(), taps, axis=2, mode="mirror")
    expected = ndimage.correlate1d(expected, taps, axis=3, mode="mirror")
    np.testing.assert_allclose(separable(images, taps).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("size", [11, 13])
def test_a_wanted_gradient_changes_the_way_and_not_the_values(
    images: torch.Tensor, size: int
) -> None:
    taps = gaussian_taps(size, 2.0)
    differentiable = separable(images.clone().requires_grad_(), taps)
    assert differentiable.requires_grad
    torch.testing.assert_close(separable(images, taps), differentiable.detach())


def test_stride_takes_every_second_place(images: torch.Tensor) -> None:
    taps = gaussian_taps(11, 1.5)
    whole = separable(images, taps)
    torch.testing.assert_close(separable(images, taps, 2), whole[..., ::2, ::2])


def test_box_blur_is_the_mean_and_one_is_none(images: torch.Tensor) -> None:
    expected = ndimage.uniform_filter(images[0, 0].double().numpy(), 5, mode="mirror")
    np.testing.assert_allclose(box_blur(images, 5)[0, 0].numpy(), expected, atol=1e-6)
    assert box_blur(images, 1) is images


def test_borders_narrower_than_the_window_still_average_to_the_constant() -> None:
    flat = torch.full((1, 1, 3, 2), 0.25)
    torch.testing.assert_close(separable(flat, gaussian_taps(11, 1.5)), flat)


def test_ssim_equals_scikit_image_inside_the_border(images: torch.Tensor) -> None:
    other = (images + 0.2 * torch.randn(images.shape)).clamp(0, 1)
    _, expected = structural_similarity(
        images[0, 0].double().numpy(),
        other[0, 0].double().numpy(),
        data_range=1.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    found = ssim_map(images, other)[0, 0].numpy()
    np.testing.assert_allclose(found[5:-5, 5:-5], expected[5:-5, 5:-5], atol=1e-4)


def test_ssim_of_equals_is_one_and_it_is_symmetric(images: torch.Tensor) -> None:
    other = images.flip(3)
    torch.testing.assert_close(ssim_map(images, images), torch.ones_like(images))
    torch.testing.assert_close(ssim_map(images, other), ssim_map(other, images))


def test_gradient_of_ssim() -> None:
    first = torch.rand(1, 1, 7, 6, dtype=torch.float64, requires_grad=True)
    second = torch.rand(1, 1, 7, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim_map(x, second), first)
