from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omnial.config.load import load_settings
from omnial.config.settings import DataSettings
from omnial.data.cache import LOCATION, open_cache
from omnial.data.dataset import ImageDataset, to_unit
from omnial.training.sampler import BalancedOrder, BatchSampler

LABELS = [0] * 3 + [1] * 10 + [2] * 1


def stored(
    paths: Sequence[Path], regions: Sequence[Path | None], settings: DataSettings
) -> ImageDataset:
    return ImageDataset(paths, regions, settings, open_cache(settings))


@pytest.fixture
def store(tmp_path: Path) -> ImageDataset:
    rng = np.random.default_rng(0)
    paths = []
    for index in range(len(LABELS)):
        pixels = rng.integers(0, 256, (40, 32, 3), dtype=np.uint8)
        pixels[..., 0] = index
        path = tmp_path / f"{index:02d}.png"
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return stored(paths, [None] * len(paths), DataSettings(height=40, width=32))


SETTINGS = load_settings(
    overrides=["training.batch_size=6", "training.seed=1", "synthesis.texture_share=0.5"]
)


def sampler(store: ImageDataset, **options: int) -> BatchSampler:
    return BatchSampler(store, LABELS, None, SETTINGS, **options)


def test_classes_come_equally_often_whatever_their_size() -> None:
    order = BalancedOrder(LABELS, seed=0)
    classes = [LABELS[order[number]] for number in range(300)]
    assert Counter(classes) == {0: 100, 1: 100, 2: 100}
    assert all(len(set(classes[start : start + 3])) == 3 for start in range(0, 300, 3))


def test_a_pass_over_a_class_sees_each_image_once() -> None:
    order = BalancedOrder(LABELS, seed=0)
    images = [order[number] for number in range(3 * 10)]
    seen = [image for image in images if LABELS[image] == 1]
    assert sorted(seen) == list(range(3, 13))


def test_draws_do_not_depend_on_the_order_of_asking() -> None:
    forwards, backwards = BalancedOrder(LABELS, seed=0), BalancedOrder(LABELS, seed=0)
    asked = [forwards[number] for number in range(90)]
    assert asked == [backwards[number] for number in reversed(range(90))][::-1]
    other = BalancedOrder(LABELS, seed=1)
    assert asked != [other[number] for number in range(90)]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batch_of_one(store: ImageDataset, world: int) -> None:
    whole = sampler(store).batch(5)
    parts = [sampler(store, rank=rank, world=world).batch(5) for rank in range(world)]
    positions = torch.cat([part.positions for part in parts])
    assert sorted(positions.tolist()) == whole.positions.tolist()
    order = torch.argsort(positions)
    for key in ("images", "textures"):
        assert torch.equal(
            torch.cat([getattr(part, key) for part in parts])[order], getattr(whole, key)
        )


def test_images_are_eight_bit_in_memory_and_unit_for_the_network(store: ImageDataset) -> None:
    batch = sampler(store).batch(0)
    assert batch.images.dtype == torch.uint8
    unit = to_unit(batch.images)
    assert unit.dtype == torch.float32
    torch.testing.assert_close(unit * 255, batch.images.float())
    assert batch.region.dtype == torch.bool
    assert bool(batch.region.all())


def test_a_texture_collection_is_used_for_its_share(store: ImageDataset, tmp_path: Path) -> None:
    path = tmp_path / "texture.png"
    Image.new("RGB", (32, 40), (255, 255, 255)).save(path)
    textures = stored([path], [None], DataSettings(height=40, width=32))
    mixed = BatchSampler(store, LABELS, textures, SETTINGS)
    white = [bool((mixed.batch(step).textures == 255).all((1, 2, 3)).sum()) for step in range(9)]
    shares = torch.cat([(mixed.batch(step).textures == 255).all((1, 2, 3)) for step in range(40)])
    assert any(white)
    assert 0.35 < float(shares.float().mean()) < 0.65


@pytest.fixture
def long_store(tmp_path: Path) -> ImageDataset:
    """Images whose red is the column, and whose green the image; every other has a region."""
    paths = [tmp_path / f"{index:02d}.png" for index in range(len(LABELS))]
    for index, path in enumerate(paths):
        pixels = np.zeros((32, 96 if index % 2 else 32, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = np.arange(pixels.shape[1]), index
        Image.fromarray(pixels).save(path)
    region = np.zeros((32, 96), np.uint8)
    region[:, 48:] = 255
    Image.fromarray(region).save(tmp_path / "roi.png")
    regions = [tmp_path / "roi.png" if index % 2 else None for index in range(len(paths))]
    return stored(paths, regions, DataSettings(height=32, width=32, cache_gigabytes=0))


def test_a_long_image_gives_windows_from_anywhere_at_its_own_scale(
    long_store: ImageDataset,
) -> None:
    starts: set[int] = set()
    texture_starts: set[int] = set()
    for step in range(30):
        batch = sampler(long_store).batch(step)
        assert batch.images.shape == batch.textures.shape == (6, 3, 32, 32)
        for image, region in zip(batch.images, batch.region, strict=True):
            start = int(image[0, 0, 0])
            columns = torch.arange(start, start + 32)
            assert torch.equal(image[0], columns.expand(32, 32).to(torch.uint8))
            if image[1, 0, 0] % 2:
                starts.add(start)
                assert torch.equal(region[0], (columns >= 48).expand(32, 32))
            else:
                assert start == 0
                assert bool(region.all())
        texture_starts |= set(batch.textures[:, 0, 0, 0].tolist())
    assert min(starts) < 8
    assert max(starts) > 56
    assert len(starts) > 30
    assert len(texture_starts) > 20


def test_windows_are_a_function_of_seed_step_and_position(long_store: ImageDataset) -> None:
    whole = sampler(long_store).batch(5)
    later = sampler(long_store).batch(5)
    parts = [sampler(long_store, rank=rank, world=2).batch(5) for rank in range(2)]
    order = torch.argsort(torch.cat([part.positions for part in parts]))
    for key in ("images", "textures", "region"):
        assert torch.equal(getattr(whole, key), getattr(later, key))
        assert torch.equal(
            torch.cat([getattr(part, key) for part in parts])[order], getattr(whole, key)
        )


def test_whole_frames_come_in_batches_of_one_size(long_store: ImageDataset) -> None:
    indices = [0, 2, 4, 1, 3, 5, 6]
    assert long_store.batches(indices, 4) == [[0, 2, 4], [1], [3], [5], [6]]
    assert long_store.batches(indices, 6) == [[0, 2, 4], [1, 3], [5], [6]]
    assert long_store.images([1, 3]).shape == (2, 3, 32, 96)
    assert long_store.regions([1, 3]).shape == (2, 1, 32, 96)


@pytest.mark.parametrize("deep", [False, True])
def test_batches_are_the_same_with_and_without_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool
) -> None:
    monkeypatch.setenv(LOCATION, str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index:02d}.png" for index in range(len(LABELS))]
    for index, path in enumerate(paths):
        dtype = np.uint16 if deep and index % 2 else np.uint8
        Image.fromarray(rng.integers(0, 256, (50, 33), dtype=dtype)).save(path)
    Image.fromarray(np.eye(20, dtype=np.bool_)).save(tmp_path / "roi.png")
    regions = [tmp_path / "roi.png" if index % 3 else None for index in range(len(paths))]
    cached = DataSettings(height=40, width=32, geometry="pad")
    stores = [
        stored(paths, regions, settings)
        for settings in (cached.model_copy(update={"cache_gigabytes": 0.0}), cached, cached)
    ]
    assert list((tmp_path / "cache" / "inputs").glob("*.npy"))
    for step in range(5):
        plain, *others = [sampler(store).batch(step) for store in stores]
        for other in others:
            for key in ("images", "textures", "region"):
                assert getattr(plain, key).dtype == getattr(other, key).dtype
                assert torch.equal(getattr(plain, key), getattr(other, key))
