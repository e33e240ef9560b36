"""One class for every kind of picture."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from omnial.data.image_file import ImageError
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.models.trained_model import TrainedModel
from tests import small_model

SIZE = small_model.EDGE


def red_model(tile: int | None = None) -> TrainedModel:
    region = np.ones((SIZE, SIZE), bool)
    region[:, :16] = False
    return small_model.red_model(tile=tile, rois={"sea": region})


def scene(height: int = SIZE, width: int = SIZE, blue: bool = False) -> NDArray[np.uint8]:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 2 if blue else 1] = 255
    return pixels


def with_defect(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    changed = pixels.copy()
    changed[10:30, 20:60, 0] = 255
    return changed


def test_every_kind_of_picture_gives_the_same(tmp_path: Path) -> None:
    pixels = with_defect(scene())
    path = tmp_path / "1.png"
    Image.fromarray(pixels).save(path)
    inspector = Inspector.of(red_model())
    sources: list[Any] = [path, str(path), pixels, pixels.astype(np.float64) / 255]
    sources.append(Image.open(path))
    found = [inspector.inspect(source) for source in sources]
    for one in found:
        assert one.class_name == "moss"
        assert one.anomalous
        assert one.score == pytest.approx(found[0].score, abs=1e-6)
        assert [outline.area for outline in one.outlines] == [800]
        assert one.score_map.dtype == np.float32
        assert one.score_map.shape == (SIZE, SIZE)
        np.testing.assert_array_equal(one.image, pixels)
    assert [one.path for one in found] == [path, path, None, None, None]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].score = 0.0  # type: ignore[misc]


def test_an_iterable_is_read_as_results_are_asked_for() -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield scene()

    results = Inspector.of(red_model(), batch_size=2).inspect(endless())
    assert not next(results).anomalous
    assert not next(results).anomalous
    results.close()  # type: ignore[attr-defined]  # a generator
    assert taken < 30


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("view", [False, True])
def test_a_stream_may_fill_the_same_array_again(batch_size: int, view: bool) -> None:
    buffer = np.empty((SIZE, SIZE, 3), np.uint8)

    def camera() -> Iterator[NDArray[np.uint8]]:
        for number in range(7):
            buffer[...] = with_defect(scene()) if number < 4 else scene()
            yield buffer[:] if view else buffer
        buffer[...] = 0

    found = list(Inspector.of(red_model(), batch_size=batch_size).inspect(camera()))
    assert [one.anomalous for one in found] == [True] * 4 + [False] * 3
    for number, one in enumerate(found):
        np.testing.assert_array_equal(one.image, with_defect(scene()) if number < 4 else scene())


def test_a_stream_of_pictures_may_close_each_behind_it(tmp_path: Path) -> None:
    for number in range(5):
        Image.fromarray(with_defect(scene()) if number < 2 else scene()).save(
            tmp_path / f"{number}.png"
        )

    def files() -> Iterator[Image.Image]:
        for path in sorted(tmp_path.iterdir()):
            with Image.open(path) as image:
                yield image

    found = Inspector.of(red_model(), batch_size=2).inspect(files())
    assert [one.anomalous for one in found] == [True] * 2 + [False] * 3


@pytest.mark.parametrize("several", [list, iter])
def test_tensors_and_opencvs_frames(several: Callable[[list[Any]], Any]) -> None:
    inspector, pixels = Inspector.of(red_model()), with_defect(scene())
    pixels[..., 2] //= 2
    expected = inspector.inspect(pixels)
    frame = np.ascontiguousarray(pixels[..., ::-1])
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    opaque = np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])
    found = [
        inspector.inspect(tensor),
        inspector.inspect(frame, bgr=True),
        *inspector.inspect(
            several([frame, opaque, tensor.flip(0), Image.fromarray(pixels)]), bgr=True
        ),
    ]
    for one in found:
        np.testing.assert_array_equal(one.image, pixels)
        assert one.score == pytest.approx(expected.score, abs=1e-6)


def test_an_inspection_keeps_no_array_of_the_caller() -> None:
    for pixels in (with_defect(scene()), with_defect(scene()).astype(np.float32) / 255):
        found = Inspector.of(red_model()).inspect(pixels)
        assert not np.shares_memory(found.image, pixels)
        pixels[...] = 0
        np.testing.assert_array_equal(found.image, with_defect(scene()))


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (1, 4), (3, 2), (8, 2), (8, 16)])
def test_a_live_stream_answers_after_at_most_one_batch(batch_size: int, workers: int) -> None:
    taken = 0

    def camera() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield scene()

    inspector = Inspector.of(red_model(), batch_size=batch_size, workers=workers)
    for number, _ in enumerate(inspector.inspect(camera())):
        assert taken <= (number // batch_size + 1) * batch_size
    assert taken == 20


def test_a_list_is_read_ahead_and_gives_the_same_as_a_stream() -> None:
    sources = [with_defect(scene()) if number % 3 else scene() for number in range(11)]
    inspector = Inspector.of(red_model(), batch_size=4)
    one, other = (list(inspector.inspect(given)) for given in (sources, iter(sources)))
    assert [found.score for found in one] == [found.score for found in other]


def test_bad_files_in_turn_or_as_errors(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"?")
    sources = [scene(), tmp_path / "bad.png", scene(blue=True)]
    inspector = Inspector.of(red_model())
    found = list(inspector.each(sources))
    assert [isinstance(one, ImageError) for one in found] == [False, True, False]
    with pytest.raises(ImageError, match=r"bad\.png"):
        list(inspector.inspect(sources))
    with pytest.raises(ImageError):
        inspector.inspect(tmp_path / "none.png")


def test_mistakes() -> None:
    inspector = Inspector.of(red_model())
    with pytest.raises(UserError, match="moss, sea"):
        inspector.inspect(scene(), "bottle")
    with pytest.raises(ValueError, match="channels"):
        inspector.inspect(np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ValueError, match="pixel"):
        inspector.inspect(scene(), tile=0)
    with pytest.raises(ValueError, match="batch_size"):
        Inspector.of(red_model(), batch_size=0)


@pytest.mark.parametrize("depth", ["uint16", "float32", "alpha"])
def test_a_pillow_picture_gets_the_verdict_of_its_file(tmp_path: Path, depth: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "1.tif"
    if depth == "alpha":
        Image.fromarray(np.dstack([scene(), scene()[..., :1]])).save(path)
    else:
        full = 65535 if depth == "uint16" else 1
        Image.fromarray((rng.random((SIZE, SIZE)) * full).astype(depth)).save(path)
    inspector = Inspector.of(red_model())
    expected = inspector.inspect(path)
    with Image.open(path) as image:
        found = inspector.inspect(image)
    assert found.score == expected.score
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.score_map, expected.score_map)


def test_the_region_of_a_recognised_product_counts() -> None:
    pixels = scene(blue=True)
    pixels[10:30, :10, 0] = 255
    inspector = Inspector.of(red_model())
    for class_name in (None, "sea"):
        found = inspector.inspect(pixels, class_name)
        assert (found.class_name, found.anomalous) == ("sea", False)
        assert (found.score_map[:, :16] == 0).all()


def test_threads_share_one_inspector() -> None:
    inspector = Inspector.of(red_model())
    sources = [with_defect(scene(blue=bool(n % 2))) if n % 3 else scene() for n in range(24)]
    expected = [inspector.inspect(source).score for source in sources]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda source: inspector.inspect(source).score, sources))
    assert found == expected


def test_warm_up_runs_both_sizes_of_batch() -> None:
    model = red_model()
    Inspector.of(model, batch_size=3).warm_up()
    assert isinstance(model.network, small_model.RedFinder)
    assert sorted(model.network.batches) == [1, 3]


def test_a_model_folder_needs_no_export(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a usable model folder"):
        Inspector(tmp_path)
    assert Inspector.of(red_model()).backend.facts()["device"] == "cpu"


class TestTiles:
    def test_a_small_defect_in_a_large_image_is_outlined_where_it_is(self) -> None:
        pixels = scene(200, 300)
        pixels[150:154, 210:216, 0] = 255
        inspector = Inspector.of(red_model(), batch_size=2)
        found = inspector.inspect(pixels, "moss", tile=64)
        (outline,) = found.outlines
        assert outline.area == 24
        np.testing.assert_allclose(outline.polygon.min(axis=0), [209.5, 149.5], atol=0.02)
        np.testing.assert_allclose(outline.polygon.max(axis=0), [215.5, 153.5], atol=0.02)
        assert found.score_map.shape == (200, 300)
        whole = inspector.inspect(pixels, "moss", tile=None)
        assert found.score > whole.score

    def test_an_image_no_larger_than_a_tile_is_inspected_as_a_whole(self) -> None:
        inspector = Inspector.of(red_model())
        pixels = with_defect(scene(60, 64))
        tiled, whole = (inspector.inspect(pixels, "moss", tile=tile) for tile in (64, None))
        assert tiled.score == whole.score
        np.testing.assert_array_equal(tiled.score_map, whole.score_map)

    def test_the_region_is_stretched_over_the_image(self) -> None:
        pixels = scene(256, 256, blue=True)
        pixels[100:120, :60, 0] = 255
        found = Inspector.of(red_model()).inspect(pixels, tile=64)
        assert (found.class_name, found.anomalous) == ("sea", False)
        assert (found.score_map[:, :64] == 0).all()

    def test_tiles_of_the_calibration_are_the_default(self) -> None:
        pixels = scene(200, 200)
        pixels[100:104, 100:106, 0] = 255
        scores = [
            Inspector.of(red_model(tile=64)).inspect(pixels, "moss").score,
            Inspector.of(red_model()).inspect(pixels, "moss", tile=64).score,
        ]
        assert scores[0] == scores[1]
