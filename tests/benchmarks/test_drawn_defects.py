"""The evaluation on drawn defects believes their masks."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.drawn_defects import COPIES, FIGURES, Found, evaluate, normality
from omnial.config.settings import DataSettings
from omnial.data.records import ImageRecord
from omnial.synthesis.unseen_defects import FAMILIES
from tests.textured import SIZE, textured


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
