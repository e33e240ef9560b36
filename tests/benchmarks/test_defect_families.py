"""Drawn defects: each family changes what its mask says, and the evaluation believes the masks."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.defect_families import FAMILIES, Normal, draw_defect, harmonic
from benchmarks.drawn_defects import COPIES, FIGURES, Found, evaluate, normality
from omnial.config.settings import DataSettings
from omnial.data.records import ImageRecord

SIZE = 96


def textured(seed: int) -> NDArray[np.float32]:
    """(3, SIZE, SIZE) in 0.2..0.8: a coarse pattern with grain."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.zoom(rng.uniform(0.3, 0.7, (3, 8, 8)), (1, SIZE / 8, SIZE / 8), order=1)
    grained = coarse + rng.uniform(-0.1, 0.1, (3, SIZE, SIZE))
    return grained.astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_changes_what_its_mask_says(family: str) -> None:
    normal = Normal(textured(0), textured(1))
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
    flat = Normal(np.full((3, SIZE, SIZE), 0.01, np.float32), np.full((3, SIZE, SIZE), 0.7, "f4"))
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
        image, _ = draw_defect(Normal(waves, other), "moved", np.random.default_rng(seed))
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


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    """Two of texture and two that are flat, on which some families draw nothing to see."""
    flat = np.full((3, SIZE, SIZE), 0.5)
    found = []
    for index, image in enumerate((textured(0), textured(1), flat, flat)):
        path = tmp_path / f"{index}.png"
        Image.fromarray((255 * image).round().astype(np.uint8).transpose(1, 2, 0)).save(path)
        found.append(ImageRecord(path, "part", "train", "good"))
    return found


def seeing(kept: float) -> object:
    """Sees every change against a batch's first image, and keeps a share of it."""

    def inspect(images: NDArray[np.float32]) -> Found:
        change = images - images[:1]
        maps = np.abs(change).max(1)
        return Found(maps.max((1, 2)).astype(np.float64), maps, images[:1] + kept * change)

    return inspect


def test_the_evaluation_believes_the_masks(records: list[ImageRecord]) -> None:
    """A copy whose mask is empty is good: who sees every change tells all copies apart."""
    evaluated = evaluate(seeing(0.5), records, DataSettings(height=SIZE, width=SIZE))  # type: ignore[arg-type]
    assert set(evaluated.figures) == set(FIGURES)
    assert evaluated.figures["image_auroc"] == 1.0
    assert evaluated.figures["psnr"] == 100.0
    assert evaluated.figures["erased"] == pytest.approx(0.75)
    assert set(evaluated.families) == set(FAMILIES)
    assert len(FAMILIES) <= COPIES * len(records)
    for figures in evaluated.families.values():
        assert figures["image_auroc"] in (1.0, None)
        assert figures["erased"] in (pytest.approx(0.75), None)


def test_a_detector_that_does_not_reconstruct_has_scores_alone(records: list[ImageRecord]) -> None:
    settings = DataSettings(height=SIZE, width=SIZE)

    def inspect(images: NDArray[np.float32]) -> Found:
        maps = images.mean(1)
        return Found(maps.mean((1, 2)).astype(np.float64), maps, None)

    evaluated = evaluate(inspect, records, settings)
    assert evaluated.figures["psnr"] is None
    assert evaluated.figures["erased"] is None
    levels = [np.asarray(Image.open(record.path)).mean() / 255 for record in records]
    found = normality(inspect, records, settings)
    assert found["score_median"] == pytest.approx(np.median(levels), abs=1e-6)
    assert found["score_95"] == pytest.approx(np.quantile(levels, 0.95), abs=1e-6)
    assert found["psnr"] is None
