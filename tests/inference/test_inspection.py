"""What was found on an image: as mask, as picture, as JSON values, at a prompt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.inference.inspection import Inspection
from omnial.inference.outlines import outlines
from omnial.inference.overlay import overlay


def inspection(score_map: Any, level: float = 0.5) -> Inspection:
    scores = np.asarray(score_map, np.float32)
    image = np.full((*scores.shape, 3), 90, np.uint8)
    found = tuple(outlines(scores, level))
    return Inspection(Path("a.png"), "gear", 0.9, 0.4, bool(found), scores, found, image)


def test_the_mask_is_what_lies_above_the_level_with_its_holes_filled() -> None:
    above = np.zeros((60, 90), bool)
    above[10:30, 20:60] = True
    above[40:50, 5:9] = True
    above[55, 80] = True
    hollow = above.copy()
    hollow[15:20, 30:40] = False

    assert (inspection(above).mask == above).all()
    assert (inspection(hollow).mask == above).all()
    nothing = inspection(np.zeros((60, 90))).mask
    assert (nothing.shape, nothing.dtype, nothing.any()) == ((60, 90), np.bool_, False)


def test_the_mask_follows_a_round_region() -> None:
    y, x = np.mgrid[:80, :100]
    blob = np.exp(-((x - 40.3) ** 2 + (y - 30.7) ** 2) / 300)

    differ = inspection(blob).mask != (blob > 0.5)

    # Corners are simplified by a quarter of a pixel: only pixels of the rim may differ.
    assert differ.sum() <= 0.05 * (blob > 0.5).sum()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_a_saved_picture_is_the_overlay(ending: str, tmp_path: Path) -> None:
    found = inspection(np.pad(np.ones((20, 30)), 10))
    expected = overlay(found.image, found.score_map, [one.polygon for one in found.outlines])

    found.save(str(tmp_path / f"a.{ending}"))

    with Image.open(tmp_path / f"a.{ending}") as picture:
        assert picture.size == (50, 40)
        if ending == "png":  # of which a verdict would hide too much
            assert (np.asarray(picture) == expected).all()
    with pytest.raises(ValueError, match="extension"):
        found.save(tmp_path / "a.part")
    with pytest.raises(TypeError, match="path is a path"):
        found.save(3)  # type: ignore[arg-type]


def test_an_overlay_tells_the_verdict_where_the_image_has_room() -> None:
    found = inspection(np.pad(np.ones((40, 60)), 120))
    plain = overlay(found.image, found.score_map, [one.polygon for one in found.outlines])
    changed = np.argwhere((found.overlay() != plain).any(axis=-1))
    assert changed.min(axis=0).tolist() == [0, 0]
    assert changed.max(axis=0)[0] < 30


def test_as_json_and_at_a_prompt() -> None:
    found = inspection(np.pad(np.ones((20, 30)), 10))

    row = json.loads(json.dumps(found.to_dict()))

    assert (row["path"], row["class"], row["score"], row["anomalous"]) == (
        "a.png",
        "gear",
        0.9,
        True,
    )
    assert [one["area"] for one in row["outlines"]] == [600]
    assert repr(found) == (
        "<Inspection of gear: anomalous, score 0.9000, threshold 0.4000, outlines 1>"
    )
