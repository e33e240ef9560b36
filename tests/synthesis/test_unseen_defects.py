"""Each family of defects changes what its mask says."""

import numpy as np
import pytest
from scipy import ndimage

from omnial.synthesis.unseen_defects import FAMILIES, Material, draw_defect, harmonic
from tests.textured import SIZE, textured


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_changes_what_its_mask_says(family: str) -> None:
    normal = Material(textured(0), textured(1))
    before = normal.image.copy()
    areas = []
    for seed in range(20):
        image, mask = draw_defect(normal, family, np.random.default_rng(seed))
        again, same = draw_defect(normal, family, np.random.default_rng(seed))
        assert np.array_equal(image, again)
        assert np.array_equal(mask, same)
        assert (image.dtype, image.shape) == (np.float32, (3, SIZE, SIZE))
        assert (mask.dtype, mask.shape) == (np.bool_, (SIZE, SIZE))
        assert 0 <= image.min() <= image.max() <= 1
        areas.append(mask.mean())
        changed = np.abs(image - before).max(0) > 0.02
        # But for soft rims and the tips of needles, what can be seen is labelled; and little else.
        near = ndimage.binary_dilation(mask, iterations=5)
        assert (changed & ~near).sum() <= max(0.1 * changed.sum(), 30)
        if mask.any():
            assert (changed & mask).sum() > 0.6 * mask.sum()
    assert np.array_equal(normal.image, before)
    assert np.count_nonzero(areas) >= 17
    assert 0.001 < np.mean(areas) < 0.3


@pytest.mark.parametrize("family", ["blurred", "moved", "filled"])
def test_what_nobody_can_see_has_an_empty_mask(family: str) -> None:
    """On flat material; a patch of another shade is bent to this one's by its hidden seam."""
    flat = Material(np.full((3, SIZE, SIZE), 0.01, np.float32), np.full((3, SIZE, SIZE), 0.7, "f4"))
    for seed in range(5):
        image, mask = draw_defect(flat, family, np.random.default_rng(seed))
        np.testing.assert_allclose(image, flat.image, atol=3e-3)
        assert not mask.any()


def test_the_seam_of_a_moved_patch_is_hidden() -> None:
    """Steps across its rim are no larger than in the two images, though their shades differ."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = (0.3 + 0.1 * np.sin(9 * x + 5 * y))[None].repeat(3, 0).astype(np.float32)
    other = (0.7 + 0.1 * np.sin(7 * x - 8 * y))[None].repeat(3, 0).astype(np.float32)
    steps = max(np.abs(np.diff(i, axis=a)).max() for i in (waves, other) for a in (1, 2))
    for seed in range(10):
        image, _ = draw_defect(Material(waves, other), "moved", np.random.default_rng(seed))
        for axis in (1, 2):
            assert np.abs(np.diff(image, axis=axis)).max() < 4 * steps


def test_a_harmonic_filling_is_the_mean_of_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    frame = rng.normal(size=(2, 9, 14))
    inner = harmonic(frame)
    assert inner.shape == (2, 7, 12)
    whole = frame.copy()
    whole[:, 1:-1, 1:-1] = inner
    neighbours = whole[:, :-2, 1:-1] + whole[:, 2:, 1:-1] + whole[:, 1:-1, :-2] + whole[:, 1:-1, 2:]
    np.testing.assert_allclose(inner, neighbours / 4, atol=1e-12)


def test_a_harmonic_filling_of_a_plane_is_the_plane() -> None:
    y, x = np.mgrid[0:6, 0:11]
    plane = (2.0 * y - 0.5 * x + 1.0)[None]
    np.testing.assert_allclose(harmonic(plane), plane[:, 1:-1, 1:-1], atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 61), (300, 20)])
def test_small_and_long_images_can_be_drawn_on(family: str, height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    material = Material(*rng.random((2, 3, height, width), np.float32))
    seen = [draw_defect(material, family, np.random.default_rng(seed))[1] for seed in range(10)]
    assert all(mask.shape == (height, width) for mask in seen)
    # The seam of a patch of a few pixels hides all of it.
    assert any(mask.any() for mask in seen) or family in ("moved", "filled")
