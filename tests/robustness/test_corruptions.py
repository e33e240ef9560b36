"""Common corruptions: strength grows, masks move with their images, draws depend on the seed."""

import os
from pathlib import Path

import numpy as np
import pytest

from omnial.data.records import ImageRecord
from omnial.evaluation.sample import Sample
from omnial.metrics.psnr_ssim import psnr
from omnial.robustness.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt

NAMED = {corruption.name: corruption for corruption in CORRUPTIONS}
MOVING = [c for c in CORRUPTIONS if c.moves]


def sample(name: str = "000.png", size: int = 96, deep: bool = False) -> Sample:
    """A textured ground with one bright square, which is the defect."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(60, 140, (3, size // 8, size // 8)).astype(np.uint8)
    image = np.ascontiguousarray(coarse.repeat(8, 1).repeat(8, 2))
    mask = np.zeros((size, size), np.bool_)
    mask[40:60, 30:55] = True
    image[:, mask] = 230
    record = ImageRecord(Path(name), "bolt", "test", "dent")
    pixels = image.astype(np.float32) / np.float32(255) if deep else image
    return Sample(record, pixels, np.ones((size, size), np.bool_), mask)


def apart(first: Sample, second: Sample) -> float:
    unit = [s.image[None].astype(np.float32) / np.float32(255) for s in (first, second)]
    return float(psnr(unit[0], unit[1])[0])


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_each_severity_is_stronger_and_is_drawn_from_the_seed(corruption: Corruption) -> None:
    clean = sample()
    results = [corrupt(clean, corruption, severity, 0) for severity in SEVERITIES]
    distances = [apart(result, clean) for result in results]

    assert distances == sorted(distances, reverse=True)
    assert distances[0] > distances[-1] + 2
    assert all(r.image.dtype == np.uint8 and r.image.shape == clean.image.shape for r in results)
    again = corrupt(clean, corruption, 3, 0)
    assert np.array_equal(again.image, results[2].image)
    others = [corrupt(clean, corruption, 3, seed).image for seed in range(1, 6)]
    drawn = any(not np.array_equal(other, again.image) for other in others)
    assert drawn == (corruption.name not in ("contrast", "defocus", "jpeg"))
    deep = corrupt(sample(deep=True), corruption, 3, 0).image
    assert deep.dtype == np.float32
    assert 0 <= deep.min() <= deep.max() <= 1


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_the_mask_stays_on_the_defect(corruption: Corruption) -> None:
    clean = sample()
    for severity in SEVERITIES:
        result = corrupt(clean, corruption, severity, 2)
        assert result.mask is not None
        if not corruption.moves:
            assert np.array_equal(result.mask, clean.mask)
            assert result.valid.all()
        else:
            bright = result.image[0] > 185
            union = (bright | result.mask).sum()
            assert (bright & result.mask).sum() / union > 0.9
            assert abs(int(result.mask.sum()) - 500) < 40


@pytest.mark.parametrize("corruption", MOVING, ids=lambda c: c.name)
def test_pixels_from_beyond_the_frame_do_not_count(corruption: Corruption) -> None:
    result = corrupt(sample(), corruption, 5, 0)
    assert 0.8 < result.valid.mean() < 1
    bare = sample()._replace(mask=None)
    assert corrupt(bare, corruption, 5, 0).mask is None


def test_closed_forms() -> None:
    grey = sample()._replace(image=np.full((3, 64, 64), 128, np.uint8), mask=None)
    brightness = corrupt(grey, NAMED["brightness"], 2, 0).image
    assert set(np.unique(brightness)) in ({128 + 25}, {128 - 26}, {128 + 26}, {128 - 25})
    for name in ("contrast", "defocus", "motion"):
        assert np.abs(corrupt(grey, NAMED[name], 5, 0).image.astype(int) - 128).max() <= 1
    noise = corrupt(grey, NAMED["noise"], 3, 0).image.astype(float) / 255
    assert float(noise.std()) == pytest.approx(0.04 * np.sqrt(0.2 + 0.8 * 128 / 255), rel=0.05)
    two = np.where(np.arange(64) < 32, 64, 192).astype(np.uint8)
    steps = grey._replace(image=np.broadcast_to(two, (3, 64, 64)).copy())
    contrast = corrupt(steps, NAMED["contrast"], 2, 0).image
    assert np.unique(contrast).tolist() == [round(128 - 0.7 * 64), round(128 + 0.7 * 64)]


def test_a_shift_moves_by_its_amount() -> None:
    clean = sample(size=256)
    result = corrupt(clean, NAMED["shift"], 4, 0)
    assert result.mask is not None
    assert clean.mask is not None
    centres = [np.argwhere(mask).mean(axis=0) for mask in (clean.mask, result.mask)]
    assert float(np.hypot(*(centres[1] - centres[0]))) == pytest.approx(8.0, abs=0.6)


def test_images_draw_their_own() -> None:
    first, second = (corrupt(sample(name), NAMED["noise"], 3, 0).image for name in ("a", "b"))
    assert not np.array_equal(first, second)


def test_a_name_that_is_no_text_draws_its_own_too() -> None:
    names = (os.fsdecode(b"\xff.png"), os.fsdecode(b"\xfe.png"))
    first, second = (corrupt(sample(name), NAMED["noise"], 3, 0).image for name in names)
    assert not np.array_equal(first, second)
