"""`omnial data`: what is in a folder, and what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]


def draw(path: Path, size: tuple[int, int] = (12, 8), value: int | None = None) -> None:
    """Write a picture of noise, another one at each path, or of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path).encode())).integers(0, 255, size[::-1])
    pixels = noise if value is None else np.full(size[::-1], value)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def bolt(tmp_path: Path) -> Path:
    folder = tmp_path / "parts" / "bolt"
    for name in ("train/good/0", "train/good/1", "train/good/2", "test/good/3", "test/bent/4"):
        draw(folder / f"{name}.png")
    draw(folder / "test/bent/5.png", (20, 30))
    draw(folder / "ground_truth/bent/4_mask.png", value=255)
    draw(folder / "ground_truth/bent/5_mask.png", (20, 30), value=1)
    return folder


def test_layout_counts_and_sizes(run: Run, bolt: Path) -> None:
    draw(bolt.parent / "nut" / "0.png")
    ended, shown = run("data", bolt.parent, "--json"), run("data", bolt.parent)

    assert (ended.code, shown.code) == (0, 0)
    found = json.loads(ended.out)
    assert found["classes"]["bolt"] == {
        "layout": "MVTec AD",
        "folder": str(bolt),
        "train": 3,
        "good": 1,
        "defective": 2,
        "masks": 2,
        "kinds": {"bent": 2},
        "sizes": 2,
        "smallest": [12, 8],
        "largest": [20, 30],
        "region_of_interest": False,
        "unused": 0,
    }
    assert found["classes"]["nut"]["layout"] == "plain folder"
    assert (found["bad_files"], found["duplicates"]) == ([], [])
    assert "12 x 8 to 20 x 30, 2 sizes" in shown.out
    assert "next:" not in shown.out  # three images cannot be trained on
    assert "bolt: few images to learn from (3). A training takes 5 at least" in shown.err
    for index in range(20):
        draw(bolt / f"train/good/more{index}.png", value=index)
        draw(bolt.parent / f"nut/more{index}.png", value=100 + index)
    shown = run("data", bolt.parent)
    assert shown.out.splitlines()[-1] == f"next: omnial train --data {bolt.parent} --minutes 30"
    assert "few images" not in shown.err


def test_suspicious_files(run: Run, bolt: Path) -> None:
    bad = {
        *("train/good/0.png", "train/good/text.png", "roi.png"),
        *("ground_truth/bent/4_mask.png", "ground_truth/bent/5_mask.png"),
    }
    (bolt / "train/good/0.png").write_bytes((bolt / "train/good/1.png").read_bytes()[:60])
    (bolt / "train/good/text.png").write_text("no picture")
    draw(bolt / "ground_truth/bent/4_mask.png", value=0)
    draw(bolt / "ground_truth/bent/5_mask.png", (20, 31), value=1)
    draw(bolt / "roi.png", value=0)
    (bolt / "test/good/again.png").write_bytes((bolt / "train/good/2.png").read_bytes())
    draw(bolt / "train/good/twice.png")
    (bolt / "train/good/as_well.png").write_bytes((bolt / "train/good/twice.png").read_bytes())
    (bolt / "test/bent/x.heic").touch()
    ended, shown = run("data", bolt, "--json"), run("data", bolt)

    assert (ended.code, shown.code) == (1, 1)
    found = json.loads(ended.out)
    assert {one["path"] for one in found["bad_files"]} == {str(bolt / name) for name in bad}
    assert found["duplicates"] == [
        [str(bolt / "train/good/2.png"), str(bolt / "test/good/again.png")]
    ]
    assert ".heic is not read" in ended.err
    for line in (*bad, "files that cannot be used: 5", "in two places: 1", "again.png"):
        assert line in shown.out


def test_a_region_of_interest_that_is_too_large_is_not_decoded(run: Run, bolt: Path) -> None:
    draw(bolt / "roi.png", (2000, 1000), value=255)
    ended = run("data", bolt, "--json", "--max-megapixels", "1")

    assert ended.code == 1
    (bad,) = json.loads(ended.out)["bad_files"]
    assert bad["path"] == str(bolt / "roi.png")
    assert "megapixels" in bad["reason"]


def test_what_no_layout_has_is_the_users_mistake(run: Run, bolt: Path, tmp_path: Path) -> None:
    (bolt / "ground_truth/bent/4_mask.png").unlink()

    for path in (bolt, tmp_path / "nowhere"):
        ended = run("data", path)
        assert (ended.code, ended.out) == (2, "")
        assert str(path) in ended.err
