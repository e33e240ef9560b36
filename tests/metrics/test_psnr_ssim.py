import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from omnial.metrics.psnr_ssim import psnr, ssim


def pair(seed: int, shape: tuple[int, ...] = (3, 3, 40, 52)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.random(shape, dtype=np.float32)
    noisy = np.clip(target + rng.normal(0, 0.1, shape), 0, 1).astype(np.float32)
    noisy[1] = 0.25 * noisy[1] + 0.5
    return noisy, target


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def test_each_image_equals_scikit_image() -> None:
    noisy, target = pair(0)
    expected = [reference_ssim(a, b) for a, b in zip(noisy, target, strict=True)]
    np.testing.assert_allclose(ssim(noisy, target), expected, atol=1e-9)
    expected = [
        peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in zip(noisy, target, strict=True)
    ]
    np.testing.assert_allclose(psnr(noisy, target), expected, atol=1e-4)


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_tensors_are_measured_where_they_are(figure: object, device: torch.device) -> None:
    assert callable(figure)
    noisy, target = pair(5)
    valid = np.random.default_rng(0).random((3, 40, 52)) < 0.5
    tensors = [torch.from_numpy(array).to(device) for array in (noisy, target, valid)]
    expected = figure(noisy, target, valid)
    np.testing.assert_allclose(figure(*tensors), expected, rtol=0, atol=1e-9)
    # What comes from the host joins the reconstruction on its device.
    np.testing.assert_allclose(figure(tensors[0], target, valid), expected, rtol=0, atol=1e-9)
    for tensor, array in zip(tensors, (noisy, target, valid), strict=True):
        np.testing.assert_array_equal(tensor.cpu(), array)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_have_the_closed_form(level: float) -> None:
    target = np.full((1, 3, 32, 32), level, np.float32)
    moved = np.full((1, 3, 32, 32), abs(level - 0.125), np.float32)
    other, c1 = abs(level - 0.125), 0.01**2
    assert psnr(moved, target) == pytest.approx([-20 * np.log10(0.125)])
    expected = (2 * level * other + c1) / (level**2 + other**2 + c1)
    assert ssim(moved, target) == pytest.approx([expected], abs=1e-9)


def test_an_exact_copy_has_100_db_and_similarity_1() -> None:
    _, target = pair(1)
    assert psnr(target, target) == pytest.approx([100.0] * 3)
    assert ssim(target, target) == pytest.approx([1.0] * 3)


def test_the_reconstruction_is_clipped_first() -> None:
    target = np.ones((1, 3, 32, 32), np.float32)
    assert psnr(target + 3, target) == pytest.approx([100.0])
    assert ssim(target + 3, target) == pytest.approx([1.0])


def test_only_valid_pixels_count() -> None:
    noisy, target = pair(2)
    valid = np.zeros((3, 40, 52), dtype=bool)
    valid[:, 8:30, 10:40] = True
    cut = np.s_[:, :, 8:30, 10:40]
    expected = psnr(np.ascontiguousarray(noisy[cut]), np.ascontiguousarray(target[cut]))
    np.testing.assert_allclose(psnr(noisy, target, valid), expected, atol=1e-9)
    # Far enough from the area that no window reaches it, changes leave the figure alone.
    changed = noisy.copy()
    changed[:, :, :2] = 0.0
    np.testing.assert_allclose(ssim(changed, target, valid), ssim(noisy, target, valid))
    assert np.all(np.abs(ssim(noisy, target, valid) - ssim(noisy, target)) > 1e-4)


def test_an_area_along_the_frame_alone_still_has_a_figure() -> None:
    noisy, target = pair(3)
    valid = np.zeros((3, 40, 52), dtype=bool)
    valid[:, :, :4] = True
    assert np.all(ssim(noisy, target, valid)[[0, 2]] > 0.5)
    assert ssim(target, target, valid) == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_wrong_shapes_and_empty_areas_are_refused(figure: object) -> None:
    noisy, target = pair(4)
    assert callable(figure)
    with pytest.raises(ValueError, match="one shape"):
        figure(noisy[:1], target)
    with pytest.raises(ValueError, match="must have the shape"):
        figure(noisy, target, np.ones((40, 52), bool))
    with pytest.raises(ValueError, match="no valid pixel"):
        figure(noisy, target, np.zeros((3, 40, 52), bool))
