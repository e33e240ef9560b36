"""Training end to end on two generated classes: budgets, resume, failure, added products."""

import hashlib
import itertools
import json
import logging
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from omnial.config.load import load_settings
from omnial.config.settings import DataSettings, Settings
from omnial.data.layouts import discover
from omnial.data.records import ImageRecord, split_validation
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.errors import RunError, UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.validation_figures import ValidationFigures
from omnial.model_folder.weights_file import load_model
from omnial.training import drawing, loop
from omnial.training.checkpoint import read_checkpoint, what_is_computed
from omnial.training.fit import train
from omnial.training.objective import Losses
from omnial.training.sampler import Batch, BatchSampler


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    generate(folder, seed=2, classes=CLASS_NAMES[:2], size=64, train=6, test_good=1, per_kind=1)
    return folder


def settings(*overrides: str) -> Settings:
    small = ["data.height=64", "data.width=64", "model.stem=4", "training.batch_size=4"]
    return load_settings(size="tiny", overrides=[*small, "training.precision=fp32", *overrides])


def fit(out: Path, data: Path, *overrides: str, resume: bool = False) -> dict[str, object]:
    wanted = settings("training.steps=5", *overrides)
    return train(wanted, [data], out, resume=resume, progress=False).to_dict()


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "undisturbed"
    summary = fit(out, data)
    assert summary["steps"] == 5
    assert summary["images"] == 20
    return out


def test_the_folder_is_complete_and_loads(undisturbed: Path) -> None:
    model = load_model(undisturbed, "cpu")
    assert model.classes == CLASS_NAMES[:2]
    assert model.training["steps"] == 5
    assert model.calibration.counts == dict.fromkeys(CLASS_NAMES[:2], 1)
    images = torch.rand(1, 3, 64, 64)
    assert bool(torch.isfinite(model.network(images).logits).all())


def test_the_end_of_training_says_how_well_the_network_redraws(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same figures in the summary, the folder and the log, per class and their mean."""
    caplog.set_level(logging.INFO, "omnial")
    wanted = settings("training.steps=1", "synthesis.level_probability=1")
    summary = train(wanted, [data], tmp_path / "model", progress=False)
    figures = ValidationFigures.of_training(load_model(tmp_path / "model", "cpu").training)
    assert figures == summary.validation
    assert set(figures.classes) == set(CLASS_NAMES[:2])
    for name in ("psnr", "erased"):
        values = [row[name] for row in figures.classes.values()]
        assert figures.mean[name] == pytest.approx(sum(v for v in values if v is not None) / 2)
    assert f"psnr {figures.mean['psnr']:.4g}" in caplog.text
    assert "still a flat image" in caplog.text


def test_what_is_learnt_as_good_is_told_before_the_training(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "omnial")
    fit(tmp_path / "model", data, "training.steps=1")
    first, second = CLASS_NAMES[:2]
    lines = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in lines if "learnt as good" in line]
    assert line == f"learnt as good: {first} (6 images), {second} (6 images)"
    assert lines.index(line) < next(i for i, line in enumerate(lines) if "training in" in line)


def test_another_seed_gives_other_weights(undisturbed: Path, data: Path, tmp_path: Path) -> None:
    fit(tmp_path / "other", data, "training.seed=1")
    first, other = weights(undisturbed), weights(tmp_path / "other")
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_trained_model_knows_its_products_and_neither_noise_nor_blanks_nor_others(
    undisturbed: Path, data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    generate(other, seed=2, classes=CLASS_NAMES[2:4], size=64, train=3, test_good=0, per_kind=0)
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3)]
    pictures += [np.full((64, 64, 3), level, np.uint8) for level in (0, 30, 128, 255)]
    pictures += [np.asarray(Image.open(path)) for path in sorted(other.rglob("train/good/*"))]
    inspector = Inspector(undisturbed, device="cpu")
    assert [inspector.inspect(picture).class_name for picture in pictures] == [None] * 13
    for name in CLASS_NAMES[:2]:
        (good,) = (data / name / "test" / "good").iterdir()
        assert inspector.inspect(good).class_name == name


def test_only_one_size_at_a_time_chooses_the_threads(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[bool] = []

    @contextmanager
    def chosen(*, fixed: bool) -> Iterator[Callable[[float, bool], None]]:
        yield lambda seconds, reduced: sizes.append(reduced)

    monkeypatch.setattr(loop, "chosen_threads", chosen)
    shares = ("training.quarter_share=0.4", "training.half_share=0.5")
    fit(tmp_path / "model", data, "training.steps=10", *shares)
    assert sizes == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    "overrides",
    # With these shares, the step that dies is one at half the resolution.
    [
        (),
        ("training.quarter_share=0.4", "training.half_share=0.5", "training.precision=bf16"),
    ],
    ids=["fp32", "bf16-quarters"],
)
def test_a_killed_run_resumes_to_the_same_bits(
    overrides: Sequence[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run dies in its fourth step, drawn ahead; its last checkpoint is of the third."""
    undisturbed = tmp_path / "undisturbed"
    monkeypatch.setattr(drawing, "available_cores", lambda: 1)
    fit(undisturbed, data, *overrides)
    monkeypatch.setattr(drawing, "available_cores", lambda: 99)
    batch = BatchSampler.batch

    def dying(self: BatchSampler, step: int) -> Batch:
        if step == 3:
            raise RuntimeError("killed")
        return batch(self, step)

    out, often = tmp_path / "killed", "training.checkpoint_minutes=1e-9"
    with monkeypatch.context() as patch:
        patch.setattr(BatchSampler, "batch", dying)
        with pytest.raises(RuntimeError, match="killed"):
            fit(out, data, often, *overrides)
    assert not (out / "model.safetensors").exists()
    assert read_checkpoint(out / "checkpoints" / "last.ckpt")["step"] == 3

    seen: list[int] = []

    def watched(self: BatchSampler, step: int) -> Batch:
        seen.append(step)
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSampler, "batch", watched)
        fit(out, data, often, *overrides, resume=True)
    assert seen[:2] == [3, 4]  # and, for nothing, the one after the last
    first, resumed = weights(undisturbed), weights(out)
    assert first.keys() == resumed.keys()
    assert all(torch.equal(first[name], resumed[name]) for name in first)


def test_resuming_a_finished_run_trains_no_further(undisturbed: Path, data: Path) -> None:
    before = weights(undisturbed)
    summary = fit(undisturbed, data, resume=True)
    assert summary["steps"] == 5
    after = weights(undisturbed)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_resume_with_a_larger_budget_trains_longer(
    undisturbed: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "omnial")
    longer = Path(shutil.copytree(undisturbed, tmp_path / "longer"))
    assert fit(longer, data, "training.steps=8", resume=True)["steps"] == 8
    assert "a new schedule from the kept weights, from step 5 to 8 (before: to 5)" in caplog.text
    assert load_model(longer, "cpu").settings.training.steps == 8
    before = weights(longer)
    assert fit(longer, data, "training.steps=8", resume=True)["steps"] == 8
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(longer).items())
    with pytest.raises(UserError, match="has taken 8 steps"):
        fit(longer, data, "training.steps=7", resume=True)


def test_a_folder_in_use_is_refused_without_resume(undisturbed: Path, data: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        fit(undisturbed, data)


def test_resume_refuses_another_run_and_names_the_difference(undisturbed: Path, data: Path) -> None:
    with pytest.raises(UserError, match=r"training\.learning_rate \(then 0.*, now 0.5\)"):
        fit(undisturbed, data, "training.learning_rate=0.5", resume=True)


def noise(path: Path, seed: int) -> None:
    """An image file; those of two seeds have equally many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("cache", [(), ("data.cache_gigabytes=0",)], ids=["cache", "no-cache"])
def test_resume_refuses_replaced_pictures(cache: tuple[str, ...], tmp_path: Path) -> None:
    """Of the same name and size: training images, a region of interest, textures."""
    for number in range(6):
        noise(tmp_path / f"data/part/train/good/{number}.bmp", number)
    noise(tmp_path / "data/part/roi.bmp", 6)
    noise(tmp_path / "t/1.bmp", 7)
    overrides = (f"textures={tmp_path / 't'}", "training.steps=1", *cache)
    fit(tmp_path / "model", tmp_path / "data", *overrides)
    for name in ("data/part/train/good/3.bmp", "data/part/roi.bmp", "t/1.bmp"):
        picture = tmp_path / name
        before, content = picture.stat(), picture.read_bytes()
        noise(picture, 8)
        os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert picture.stat().st_size == before.st_size
        with pytest.raises(UserError, match="other values of images"):
            fit(tmp_path / "model", tmp_path / "data", *overrides, resume=True)
        picture.write_bytes(content)
    # It was the pictures alone that were refused.
    fit(tmp_path / "model", tmp_path / "data", *overrides, resume=True)


def digests(paths: Iterable[Path]) -> frozenset[bytes]:
    return frozenset(hashlib.sha256(path.read_bytes()).digest()[:8] for path in paths)


def test_the_model_knows_the_files_that_it_was_trained_on(
    undisturbed: Path, data: Path, tmp_path: Path
) -> None:
    model = load_model(undisturbed, "cpu")
    assert model.trained_files is not None
    records = discover([data], need="train").classes
    learnt, _ = split_validation(
        [record for product in records for record in product.train], model.settings.data, 0
    )
    assert model.trained_files == digests(record.path for record in learnt)
    # One that goes on from it knows both.
    more = tmp_path / "data"
    generate(more, seed=9, classes=CLASS_NAMES[:1], size=64, train=6, test_good=1, per_kind=1)
    train(settings("training.steps=1"), [more], tmp_path / "m", init=undisturbed, progress=False)
    grown = load_model(tmp_path / "m", "cpu").trained_files
    assert grown is not None
    assert model.trained_files < grown
    assert len(grown) == len(model.trained_files) + 5
    # What the first one learned from is no new image to the second, whatever its name and seed.
    old = tmp_path / "old" / CLASS_NAMES[0]
    old.mkdir(parents=True)
    for number, record in enumerate(r for r in learnt if r.class_name == CLASS_NAMES[0]):
        shutil.copyfile(record.path, old / f"{number}.png")
    with pytest.raises(UserError, match="No image is left for validation"):
        train(settings(), [old.parent], tmp_path / "x", init=undisturbed, progress=False)


def test_copies_of_trained_images_set_no_threshold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of thirty files, those held out for validation are copies of trained ones but for one."""
    images = [tmp_path / f"data/part/train/good/{number:02}.bmp" for number in range(30)]
    for path in images:
        noise(path, 0)
    held_out = split_validation(
        [ImageRecord(path, "part", "train", "good") for path in images], DataSettings(), 0
    )[1]
    noise(held_out[2].path, 1)
    fit(tmp_path / "model", tmp_path / "data")
    model = load_model(tmp_path / "model", "cpu")
    assert len(held_out) == 6
    assert model.calibration.counts == {"part": 1}
    assert "5 of the 6 images held out for validation are copies" in caplog.text
    noise(held_out[2].path, 0)
    with pytest.raises(UserError, match="different training images"):
        fit(tmp_path / "other", tmp_path / "data")


def test_a_setting_that_came_later_leaves_earlier_runs_what_they_are() -> None:
    before = what_is_computed(load_settings(size="tiny"))
    assert "second_look" not in before["model"]
    now = what_is_computed(load_settings(size="tiny", overrides=["model.second_look=half"]))
    assert now["model"] == before["model"] | {"second_look": "half"}


def test_the_cache_decides_nothing_about_the_model(
    undisturbed: Path, data: Path, tmp_path: Path
) -> None:
    """The same seed gives the same weights without it, and a run goes on with another bound."""
    fit(tmp_path / "model", data, "data.cache_gigabytes=0")
    first, second = weights(undisturbed), weights(tmp_path / "model")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_model(tmp_path / "model", "cpu").settings.data.cache_gigabytes == 0
    assert fit(tmp_path / "model", data, "data.cache_gigabytes=1.5", resume=True)["steps"] == 5
    assert load_model(tmp_path / "model", "cpu").settings.data.cache_gigabytes == 1.5


def test_a_folder_with_other_files_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        fit(tmp_path, data)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def infinite_loss(terms: Losses) -> Losses:
    return terms._replace(focal=terms.focal * math.nan)


def infinite_slope(terms: Losses) -> Losses:
    """The same values, but the root's slope at 0 is not a number."""
    return terms._replace(focal=terms.focal + (0.0 * terms.focal).sqrt())


def breaking(
    monkeypatch: pytest.MonkeyPatch, at: int, fault: Callable[[Losses], Losses], number: int = 0
) -> None:
    """Break the losses of a step, and send a signal with it."""
    losses, steps = loop.losses, itertools.count()

    def broken(*arguments: Any) -> Losses:
        terms = losses(*arguments)
        if next(steps) != at:
            return terms
        if number:
            # Not a real one: its frame, with the tiles that inference with AMX leaves loaded, is
            # larger than the stack that pytest's faulthandler gives to signals.
            handler = signal.getsignal(number)
            assert callable(handler)
            handler(number, None)
        return fault(terms)

    monkeypatch.setattr(loop, "losses", broken)


@pytest.mark.parametrize(("fault", "breaks_at"), [(infinite_loss, 3), (infinite_slope, 4)])
def test_what_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Losses], Losses],
    breaks_at: int,
) -> None:
    """Of the last step too, after which no loss would show it."""
    breaking(monkeypatch, breaks_at, fault)
    with pytest.raises(RunError, match="finite"):
        fit(tmp_path / "model", data, "training.checkpoint_minutes=1e-9")
    saved = read_checkpoint(tmp_path / "model" / "checkpoints" / "last.ckpt")
    assert saved["step"] == breaks_at
    assert all(
        bool(torch.isfinite(value).all())
        for value in saved["network"].values()
        if value.is_floating_point()
    )


def test_an_interrupt_does_not_save_what_is_not_finite(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the loss."""
    breaking(monkeypatch, 3, infinite_slope, signal.SIGTERM)
    with pytest.raises(RunError, match="finite"):
        fit(tmp_path / "cut", data)
    assert not (tmp_path / "cut" / "checkpoints" / "last.ckpt").exists()


def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(
    data: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        breaking(patch, 2, lambda terms: terms, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match="at step 3 of 5"):
            fit(tmp_path / "cut", data)
    with pytest.raises(UserError, match=r"training of this model is not finished.*--resume"):
        load_model(tmp_path / "cut")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert read_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["step"] == 3
    fit(tmp_path / "cut", data, resume=True)
    first, resumed = weights(undisturbed), weights(tmp_path / "cut")
    assert all(torch.equal(first[name], resumed[name]) for name in first)


def test_init_starts_from_another_model_and_adds_a_product(
    undisturbed: Path, tmp_path: Path
) -> None:
    more = tmp_path / "data"
    generate(more, seed=2, classes=CLASS_NAMES[:3], size=64, train=6, test_good=1, per_kind=1)
    wanted = settings("training.steps=1", "training.learning_rate=1e-12")
    train(wanted, [more], tmp_path / "model", init=undisturbed, progress=False)
    assert load_model(tmp_path / "model", "cpu").classes == CLASS_NAMES[:3]
    first, grown = weights(undisturbed), weights(tmp_path / "model")
    for name, value in first.items():
        if name.startswith("network.") and name.endswith("weight"):
            torch.testing.assert_close(value, grown[name])
    with pytest.raises(UserError, match="--size"):
        train(settings("model.stem=8"), [more], tmp_path / "x", init=undisturbed, progress=False)


def test_data_without_validation_images_is_refused_before_training(tmp_path: Path) -> None:
    data = tmp_path / "data"
    generate(data, seed=2, classes=CLASS_NAMES[:1], size=64, train=4, test_good=1, per_kind=1)
    with pytest.raises(UserError, match="validation"):
        fit(tmp_path / "model", data)
    assert not (tmp_path / "model").exists()


def test_a_time_budget_ends_the_run_and_is_kept(data: Path, tmp_path: Path) -> None:
    wanted = settings("training.minutes=0.02")
    summary = train(wanted, [data], tmp_path / "model", progress=False)
    assert summary.steps > 0
    saved = read_checkpoint(tmp_path / "model" / "checkpoints" / "last.ckpt")
    assert saved["budget"]["total_steps"] == summary.steps


def test_the_region_of_interest_travels_with_the_model(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    generate(root, seed=2, classes=CLASS_NAMES[:2], size=64, train=6, test_good=1, per_kind=1)
    region = np.zeros((64, 64), np.uint8)
    region[:, :32] = 255
    Image.fromarray(region).save(root / CLASS_NAMES[0] / "roi.png")
    train(settings("training.steps=1"), [root], tmp_path / "model", progress=False)
    rois = load_model(tmp_path / "model", "cpu").rois
    assert list(rois) == [CLASS_NAMES[0]]
    assert rois[CLASS_NAMES[0]][:, :32].all()
    assert not rois[CLASS_NAMES[0]][:, 32:].any()


def test_the_log_holds_every_term(undisturbed: Path, data: Path, tmp_path: Path) -> None:
    fit(tmp_path / "model", data, "training.steps=12")
    lines = (tmp_path / "model/logs/csv/from_step_0/metrics.csv").read_text().splitlines()
    columns: Sequence[str] = lines[0].split(",")
    assert {"loss", "image_mse", "image_ssim", "jnd_mse", "jnd_ssim", "focal"} <= set(columns)
    assert {"psnr", "erased"} <= set(columns)
    assert json.loads((undisturbed / "config.json").read_text())["training"]["version"]


def test_a_class_of_dim_16_bit_files_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    for name, highest in (("dim", 4095), ("bright", 65535), ("float", None)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            if highest is None:
                pixels = rng.random((64, 64), dtype=np.float32) / 20
            else:
                pixels = rng.integers(0, highest, (64, 64), dtype=np.uint16, endpoint=True)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.tif")
    plain = settings("training.steps=1")
    summary = train(plain, tmp_path / "data", tmp_path / "model", progress=False)
    (note,) = (note for note in summary.notes if "16-bit" in note)
    assert note.startswith("dim: no value of its 16-bit files exceeds 6.2%")
    assert "--significant-bits" in note
    assert note in caplog.messages

    twelve = settings("training.steps=1", "data.significant_bits=12")
    right = train(twelve, tmp_path / "data" / "dim", tmp_path / "other", progress=False)
    assert not [note for note in right.notes if "16-bit" in note]
