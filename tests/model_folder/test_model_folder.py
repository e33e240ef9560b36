import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.errors import RunError, UserError
from omnial.model_folder.weights_file import choose_device, load_model, save_model
from omnial.models.recogniser import FEATURES, Recogniser
from omnial.models.system import build_model
from omnial.models.thresholds import calibrate
from omnial.models.torch_backend import predict_batch
from omnial.models.trained_model import TrainedModel

CLASSES = ("bolt", "cable: links, größer", "tile.roi")
SETTINGS = Settings(
    data=DataSettings(height=32, width=64),
    model=ModelSettings(
        stem=4,
        reconstruction=ReconstructionSettings(widths=(4, 8, 8)),
        localization=LocalizationSettings(widths=(4, 8, 8)),
    ),
)


def tiny_model(seed: int = 0) -> TrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(SETTINGS.model)
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(9, FEATURES)) + np.repeat([[0], [10], [20]], 3, axis=0)
    roi = generator.random((32, 64)) < 0.5
    return TrainedModel(
        settings=SETTINGS,
        classes=CLASSES,
        network=network,
        calibration=calibrate({name: generator.random(4) for name in CLASSES}, 0.5, 0.4),
        recogniser=Recogniser.fit(features, np.repeat([0, 1, 2], 3), CLASSES),
        rois={"cable: links, größer": roi, "tile.roi": ~roi},
        training={"seed": seed, "steps": 12, "data": ["a", "b"], "version": "0.1"},
        trained_files=frozenset({b"trained1", b"trained2", bytes(8)}),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_model(folder, tiny_model())
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def write_config(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def test_round_trip(folder: Path) -> None:
    saved, loaded = tiny_model(), load_model(folder, "cpu")
    assert loaded.settings == saved.settings
    assert loaded.classes == saved.classes
    assert loaded.calibration == saved.calibration
    assert loaded.training == saved.training
    assert loaded.trained_files == saved.trained_files
    assert set(loaded.rois) == set(saved.rois)
    for name, roi in saved.rois.items():
        np.testing.assert_array_equal(loaded.rois[name], roi)
    for name, array in saved.recogniser.arrays().items():
        np.testing.assert_array_equal(loaded.recogniser.arrays()[name], array)
    assert loaded.recogniser.names == CLASSES
    before, after = saved.network.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(5))
    np.testing.assert_allclose(
        predict_batch(loaded.network, images).score_maps,
        predict_batch(saved.network, images).score_maps,
        atol=1e-5,
    )


def test_a_network_of_ones_own_may_hold_whole_numbers_and_truth_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    kinds = (*floats, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)

    def own(values: int) -> nn.Module:
        network = nn.Module()
        for number, kind in enumerate(kinds):
            network.register_buffer(f"b{number}", torch.full((2, 3), values).to(kind))
        return network

    monkeypatch.setattr("omnial.model_folder.weights_file.build_model", lambda _: own(0))
    save_model(tmp_path / "model", replace(tiny_model(), network=own(1)))
    loaded = load_model(tmp_path / "model", "cpu").network.state_dict()
    for (name, value), kind in zip(own(1).state_dict().items(), kinds, strict=True):
        assert loaded[name].dtype == kind
        torch.testing.assert_close(loaded[name], value)


def test_loaded_network_is_ready_to_run(folder: Path) -> None:
    network = load_model(folder, "cpu").network
    assert not any(module.training for module in network.modules())
    kernels = [p for p in network.parameters() if p.ndim == 4]
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    assert all(not tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    before = torch.get_rng_state()
    load_model(folder, "cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_loaded_model_can_be_saved_again(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "copy", load_model(folder, "cpu"))
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


def test_saving_leaves_two_plain_files_and_replaces_older_ones(folder: Path) -> None:
    save_model(folder, tiny_model(seed=1))
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    assert load_model(folder).training["seed"] == 1
    modes = {(folder / name).stat().st_mode for name in os.listdir(folder)}
    assert len(modes) == 1


def test_failed_save_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_text

    def full(self: Path, *args: Any, **options: Any) -> int:
        real(self, "{", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RunError, match="No space left"):
        save_model(folder, tiny_model(seed=1))
    monkeypatch.undo()
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    assert load_model(folder).training["seed"] == 0


def test_crash_between_the_two_files_is_noticed(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "new", tiny_model(seed=1))
    os.replace(tmp_path / "new" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UserError, match="do not belong together"):
        load_model(folder)


def test_parts_that_do_not_fit_are_not_saved(tmp_path: Path) -> None:
    model = tiny_model()
    model.rois = {"nut": np.ones((32, 64), bool)}
    with pytest.raises(ValueError, match="regions are not those of the model's classes"):
        save_model(tmp_path / "model", model)
    model = tiny_model()
    model.classes = ("bolt", "tile.roi")
    with pytest.raises(ValueError, match="calibration"):
        save_model(tmp_path / "model", model)
    assert not (tmp_path / "model").exists()


def test_save_to_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        save_model(tmp_path / "file", tiny_model())


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a usable model folder"):
        load_model(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surplus": 1}, "unknown keys .*surplus"),
        ({"settings": {"data": {"hight": 32}}}, "hight"),
        ({"settings": None}, "settings|Settings"),
        ({"settings": {"data": {"height": 10**12}}}, "height"),
        ({"classes": "bolt"}, "list of names"),
        ({"classes": []}, "at least one"),
        ({"classes": ["bolt", "bolt"]}, "twice"),
        ({"classes": ["bolt", 3]}, "list of names"),
        ({"classes": ["bolt", "tile.roi"]}, "other classes"),
        ({"calibration": {}}, "calibration.per_class: Field required"),
        ({"calibration": None}, "calibration: "),
        ({"training": []}, "training"),
        ({"weights_sha256": None}, "weights_sha256"),
        ({"weights_sha256": "0" * 64}, "belong together"),
    ],
)
def test_configuration_with_impossible_content(
    folder: Path, change: dict[str, object], message: str
) -> None:
    write_config(folder, {**config_of(folder), **change})
    with pytest.raises(UserError, match=message):
        load_model(folder)


def test_configuration_without_a_key(folder: Path) -> None:
    config = config_of(folder)
    del config["calibration"]
    write_config(folder, config)
    with pytest.raises(UserError, match=r"missing keys .*calibration"):
        load_model(folder)


@pytest.mark.parametrize("name", ["abacus", "meta", "cuda:99", "cpu:x", ""])
def test_devices_that_cannot_be_used(name: str) -> None:
    with pytest.raises(UserError, match="cpu"):
        choose_device(name)


def test_devices_that_can_be_used() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
