import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from omnial.data.layouts import discover
from omnial.demo.production_line import (
    CLASS_NAMES,
    DEFECT_KINDS,
    MARKER,
    Pair,
    generate,
    render_pair,
)
from omnial.errors import RunError, UserError

EVERY_KIND = [(name, kind) for name in CLASS_NAMES for kind in DEFECT_KINDS[name]]


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def draw(name: str, kind: str = "good", index: int = 0, seed: int = 0, size: int = 64) -> Pair:
    split = "train" if kind == "good" else "test"
    return render_pair(name, split, kind, index, seed=seed, size=size)


def test_offers_enough_classes_and_kinds() -> None:
    assert len(CLASS_NAMES) >= 6
    assert list(CLASS_NAMES) == sorted(CLASS_NAMES)
    assert len({kind for kinds in DEFECT_KINDS.values() for kind in kinds}) >= 8
    assert all(2 <= len(kinds) <= 4 and "good" not in kinds for kinds in DEFECT_KINDS.values())


@pytest.mark.parametrize(("name", "kind"), EVERY_KIND)
def test_mask_is_exactly_where_image_and_twin_differ(name: str, kind: str) -> None:
    for index in range(2):
        pair = draw(name, kind, index, size=128)
        change = np.abs(pair.image.astype(int) - pair.normal.astype(int)).max(axis=2)
        assert change[~pair.mask].max() == 0
        # Pixels of the mask changed by more than six levels before grain and rounding, apart from
        # the narrow gaps that closing fills: those touch a changed pixel.
        changed = change >= 5
        assert changed[pair.mask].mean() > 0.75
        assert not (pair.mask & ~ndimage.binary_dilation(changed, np.ones((3, 3), bool))).any()
        assert 0.002 <= pair.mask.mean() <= 0.07
        assert np.percentile(change[pair.mask], 90) >= 14


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_good_images_vary_but_stay_the_same_product(name: str) -> None:
    images = np.stack([draw(name, index=i).image for i in range(4)]).astype(float)
    other = draw(CLASS_NAMES[CLASS_NAMES.index(name) - 1]).image.astype(float)
    within = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(within) > 3.0
    assert max(within) < np.abs(images - other).mean()
    assert np.ptp(images.mean(axis=(1, 2, 3))) > 1.0


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_image_is_a_function_of_its_key(name: str) -> None:
    kind = DEFECT_KINDS[name][0]
    first = draw(name, kind, index=1, seed=3)
    again = draw(name, kind, index=1, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    others = (
        draw(name, kind, index=2, seed=3),
        draw(name, kind, index=1, seed=4),
        draw(name, DEFECT_KINDS[name][1], index=1, seed=3),
    )
    assert all(not np.array_equal(first.normal, other.normal) for other in others)


def test_train_and_test_images_are_not_the_same() -> None:
    train = render_pair("gear", "train", "good", 0, seed=0, size=64)
    test = render_pair("gear", "test", "good", 0, seed=0, size=64)
    assert not np.array_equal(train.image, test.image)


@pytest.mark.parametrize("size", [64, 100, 256])
def test_every_size_shows_the_same_scene(size: int) -> None:
    pair = draw("metal_plate", "missing_part", size=size)
    assert pair.image.shape == (size, size, 3)
    assert pair.image.dtype == np.uint8
    assert pair.mask.shape == (size, size)
    assert pair.mask.any()
    small = np.asarray(Image.fromarray(pair.image).resize((32, 32), Image.Resampling.BOX), float)
    reference = draw("metal_plate", "missing_part", size=128).image
    expected = np.asarray(Image.fromarray(reference).resize((32, 32), Image.Resampling.BOX), float)
    assert np.abs(small - expected).mean() < 3.0


def test_good_images_have_empty_masks_and_are_their_own_twins() -> None:
    pair = draw("wood")
    assert not pair.mask.any()
    assert np.array_equal(pair.image, pair.normal)


def test_writes_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    out = tmp_path / "new" / "line"
    generate(out, seed=1, classes=["wood", "gear"], size=64, train=2, test_good=1, per_kind=2)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["gear", "wood"]
    for name in ("gear", "wood"):
        root = out / name
        assert sorted(p.name for p in (root / "train" / "good").iterdir()) == ["000.png", "001.png"]
        kinds = sorted(path.name for path in (root / "test").iterdir())
        assert kinds == sorted((*DEFECT_KINDS[name], "good"))
        truth = root / "ground_truth"
        assert sorted(path.name for path in truth.iterdir()) == sorted(DEFECT_KINDS[name])
        for image in (root / "test").glob("*/*.png"):
            kind = image.parent.name
            with Image.open(image) as opened:
                assert (opened.mode, opened.size) == ("RGB", (64, 64))
                pixels = np.asarray(opened)
            pair = render_pair(name, "test", kind, int(image.stem), seed=1, size=64)
            assert np.array_equal(pixels, pair.image)
            if kind != "good":
                with Image.open(truth / kind / f"{image.stem}_mask.png") as opened:
                    assert opened.mode == "L"
                    mask = np.asarray(opened)
                assert set(np.unique(mask)) == {0, 255}
                assert np.array_equal(mask == 255, pair.mask)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert [path.name for path in out.parent.iterdir()] == ["line"]


def test_the_layout_is_discovered_with_every_mask(tmp_path: Path) -> None:
    generate(tmp_path, seed=0, classes=["gear", "wood"], size=64, train=2, test_good=1, per_kind=1)
    catalogue = discover([tmp_path], need="any")
    assert [found.name for found in catalogue.classes] == ["gear", "wood"]
    for found in catalogue.classes:
        assert len(found.train) == 2
        assert sorted(r.kind for r in found.test) == sorted((*DEFECT_KINDS[found.name], "good"))
        assert all((record.mask is not None) == record.anomalous for record in found.test)


def test_more_images_change_none_of_the_others(tmp_path: Path) -> None:
    generate(tmp_path / "a", seed=1, classes=["gear"], size=64, train=1, test_good=0, per_kind=1)
    generate(tmp_path / "b", seed=1, classes=["label", "gear"], size=64, train=2, per_kind=1)
    few, many = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert json.loads((tmp_path / "a" / MARKER).read_text())["classes"] == ["gear"]
    del few[MARKER]
    assert few.items() <= many.items()


def test_a_complete_data_set_is_kept_and_a_damaged_one_redrawn(tmp_path: Path) -> None:
    out = tmp_path / "line"
    what = {"seed": 2, "classes": ["wood"], "size": 64, "train": 2, "test_good": 1, "per_kind": 1}
    generate(out, **what)
    before = contents(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    generate(out, **what)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == stamps

    (out / "wood" / "train" / "good" / "001.png").unlink()
    generate(out, **what)
    assert contents(out) == before

    generate(out, **{**what, "seed": 3})
    assert contents(out).keys() == before.keys()
    assert contents(out) != before
    assert [path.name for path in tmp_path.iterdir()] == ["line"]


@pytest.mark.parametrize("foreign", ["notes.txt", "wood/train/good/extra.png"])
def test_foreign_files_are_never_overwritten(tmp_path: Path, foreign: str) -> None:
    out = tmp_path / "line"
    what = {"classes": ["wood"], "size": 64, "train": 1, "test_good": 0, "per_kind": 0}
    generate(out, seed=0, **what)
    (out / foreign).write_text("mine")
    before = contents(out)
    with pytest.raises(UserError, match=Path(foreign).name):
        generate(out, seed=1, **what)
    assert contents(out) == before


def test_a_folder_of_other_files_is_refused_but_an_empty_one_is_used(tmp_path: Path) -> None:
    what = {"seed": 0, "classes": ["wood"], "size": 64, "train": 1, "test_good": 0, "per_kind": 0}
    other = tmp_path / "other"
    other.mkdir()
    (other / MARKER).write_text("{}")
    with pytest.raises(UserError, match="other"):
        generate(other, **what)
    with pytest.raises(UserError, match="is a file"):
        generate(other / MARKER, **what)
    empty = tmp_path / "empty"
    empty.mkdir()
    generate(empty, **what)
    assert (empty / "wood" / "train" / "good" / "000.png").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["teapot"]}, "teapot"),
        ({"classes": []}, "at least one"),
        ({"seed": -1}, "seed"),
        ({"size": 63}, "size"),
        ({"size": 1025}, "size"),
        ({"train": 0}, "train"),
        ({"per_kind": -1}, "per_kind"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    values = {"seed": 0, "classes": ["wood"], "size": 64, **change}
    with pytest.raises(UserError, match=message):
        generate(tmp_path / "line", **values)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "line"
    what = {"classes": ["wood"], "size": 64, "train": 2, "test_good": 0, "per_kind": 0}
    generate(out, seed=0, **what)
    before = contents(out)

    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(RunError, match="No space left"):
            generate(out, seed=1, **what)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["line"]
