"""Training end to end on two generated classes: budgets, resume, failure, added products."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.production_line import CLASS_NAMES, generate
from omnial.errors import RunError, UserError
from omnial.models.folder import load_model
from omnial.training.feed import FeedBatch
from omnial.training.fit import train
from omnial.training.module import TrainingModule
from omnial.training.run import what_is_computed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


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
    assert (undisturbed / "logs" / "csv" / "from_step_0" / "metrics.csv").is_file()


def test_the_same_seed_gives_the_same_weights_and_another_other_ones(
    undisturbed: Path, data: Path, tmp_path: Path
) -> None:
    fit(tmp_path / "again", data)
    fit(tmp_path / "other", data, "training.seed=1")
    first, again, other = (
        weights(f) for f in (undisturbed, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    "overrides",
    # With a share of 0.7, the step that dies is the last one on a quarter of the pixels.
    [(), ("training.quarter_share=0.7", "training.precision=bf16")],
    ids=["fp32", "bf16-quarters"],
)
def test_a_killed_run_resumes_to_the_same_bits(
    overrides: Sequence[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run dies in its fourth step; its last checkpoint is of the third."""
    undisturbed = tmp_path / "undisturbed"
    fit(undisturbed, data, *overrides)
    step = TrainingModule.training_step

    def dying(self: TrainingModule, batch: FeedBatch, batch_idx: int) -> Tensor:
        if batch["step"] == 3:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    out, often = tmp_path / "killed", "training.checkpoint_minutes=1e-9"
    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            fit(out, data, often, *overrides)
    assert not (out / "model.safetensors").exists()
    saved = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3

    seen: list[int] = []

    def watched(self: TrainingModule, batch: FeedBatch, batch_idx: int) -> Tensor:
        seen.append(batch["step"])
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", watched)
        fit(out, data, often, *overrides, resume=True)
    assert seen == [3, 4]
    first, resumed = weights(undisturbed), weights(out)
    assert first.keys() == resumed.keys()
    assert all(torch.equal(first[name], resumed[name]) for name in first)


def test_resuming_a_finished_run_trains_no_further(undisturbed: Path, data: Path) -> None:
    before = weights(undisturbed)
    summary = fit(undisturbed, data, resume=True)
    assert summary["steps"] == 5
    after = weights(undisturbed)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_folder_in_use_is_refused_without_resume(undisturbed: Path, data: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        fit(undisturbed, data)


def test_resume_refuses_another_run_and_names_the_difference(undisturbed: Path, data: Path) -> None:
    with pytest.raises(UserError, match=r"training\.learning_rate"):
        fit(undisturbed, data, "training.learning_rate=0.5", resume=True)


def test_a_setting_that_came_later_leaves_earlier_runs_what_they_are() -> None:
    before = what_is_computed(load_settings(size="tiny"))
    assert "second_look" not in before["model"]
    now = what_is_computed(load_settings(size="tiny", overrides=["model.second_look=true"]))
    assert now["model"] == before["model"] | {"second_look": True}


def test_the_cache_decides_nothing_about_the_model(
    undisturbed: Path, data: Path, tmp_path: Path
) -> None:
    """The same weights without it, and a run that may go on with another bound."""
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


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingModule.training_step

    def breaking(self: TrainingModule, batch: FeedBatch, batch_idx: int) -> Tensor:
        if batch["step"] == 3:
            batch["images"] = torch.full(batch["images"].shape, math.nan)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", breaking)
    with pytest.raises(RunError, match="finite"):
        fit(tmp_path / "model", data, "training.checkpoint_minutes=1e-9")
    saved = torch.load(tmp_path / "model" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert all(
        bool(torch.isfinite(value).all())
        for value in saved["state_dict"].values()
        if value.is_floating_point()
    )


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
    saved = torch.load(tmp_path / "model" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["callbacks"]["Budget"]["total_steps"] == summary.steps


def test_the_region_of_interest_travels_with_the_model(data: Path, tmp_path: Path) -> None:
    from PIL import Image

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

    told = settings("training.steps=1", "data.significant_bits=12")
    right = train(told, tmp_path / "data" / "dim", tmp_path / "other", progress=False)
    assert not [note for note in right.notes if "16-bit" in note]
