import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.errors import RunError, UserError
from omnial.model_folder.weights_file import choose_device, load_model, save_model
from omnial.models.recogniser import FEATURES, MOST_EXAMPLES, Recogniser
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


def adopt(folder: Path) -> None:
    """Make the configuration vouch for whatever the weights file holds now."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    write_config(folder, {**config_of(folder), "weights_sha256": digest})


def tensors_of(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = safetensors.torch.load_file(folder / "model.safetensors")
    return tensors


def first_weight(tensors: dict[str, Tensor]) -> str:
    return next(name for name in sorted(tensors) if name.endswith("weight"))


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


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_file(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"has no file {missing}"):
        load_model(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a usable model folder"):
        load_model(tmp_path / "nothing")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"schema_version": NaN}', b"1" * 5000],
)
def test_configuration_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"not valid JSON|nested deeper|beyond 64 bits"):
        load_model(folder)


def test_configuration_that_is_no_object_or_too_large(folder: Path) -> None:
    write_config(folder, [1])
    with pytest.raises(UserError, match="does not hold an object"):
        load_model(folder)
    (folder / "config.json").write_text(" " * (2**24 + 1))
    with pytest.raises(UserError, match="larger than"):
        load_model(folder)


@pytest.mark.parametrize("version", [0, 1, 2, "3", None, True, 3.0])
def test_other_schema_versions(folder: Path, version: object) -> None:
    write_config(folder, {**config_of(folder), "schema_version": version})
    with pytest.raises(UserError, match="made by another version of omnial"):
        load_model(folder)


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
        ({"classes": ["bolt", "../bolt"]}, "name of a class"),
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


@pytest.mark.parametrize("width", [10**5, 10**9, 2**62, 10**40])
def test_settings_of_an_enormous_network(folder: Path, width: int) -> None:
    config = config_of(folder)
    config["settings"]["model"]["reconstruction"]["widths"] = [width, width, width]
    write_config(folder, config)
    with pytest.raises(UserError, match="not a usable model folder"):
        load_model(folder)


def drop_weight(tensors: dict[str, Tensor]) -> None:
    del tensors[first_weight(tensors)]


def add_tensor(tensors: dict[str, Tensor]) -> None:
    tensors["network.extra"] = torch.zeros(1)


def add_foreign_roi(tensors: dict[str, Tensor]) -> None:
    tensors["roi.../../etc/passwd"] = torch.ones(32, 64, dtype=torch.bool)


def turn_roi(tensors: dict[str, Tensor]) -> None:
    tensors["roi.tile.roi"] = tensors["roi.tile.roi"].T.contiguous()


def number_roi(tensors: dict[str, Tensor]) -> None:
    tensors["roi.tile.roi"] = tensors["roi.tile.roi"].float()


def enlarge(tensors: dict[str, Tensor]) -> None:
    name = first_weight(tensors)
    tensors[name] = torch.zeros(*tensors[name].shape, 2)


def halve(tensors: dict[str, Tensor]) -> None:
    name = first_weight(tensors)
    tensors[name] = tensors[name].half()


def poison(tensors: dict[str, Tensor]) -> None:
    tensors[first_weight(tensors)].view(-1)[-1] = float("nan")


def overflow(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.examples"][0, 0] = float("inf")


def flatten_scale(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.scale"] = torch.zeros(FEATURES)


def shorten_examples(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.examples"] = tensors["recogniser.examples"][:, :4].contiguous()


def too_many_examples(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.examples"] = torch.zeros(3 * MOST_EXAMPLES + 1, FEATURES)


def too_much_nothing(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.nothing"] = torch.zeros(MOST_EXAMPLES + 1, FEATURES)


def count_wrongly(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.counts"][0] += 1


def count_below_zero(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.counts"] += torch.tensor([-9, 9, 0])


def drop_scale(tensors: dict[str, Tensor]) -> None:
    del tensors["recogniser.scale"]


def scalar_scale(tensors: dict[str, Tensor]) -> None:
    tensors["recogniser.scale"] = torch.tensor(1.0)
    tensors["recogniser.examples"] = torch.tensor(3.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_weight, "lacks the tensor .network"),
        (add_tensor, "unexpected tensor .network.extra"),
        (add_foreign_roi, "unexpected tensor .roi"),
        (turn_roi, "not BOOL"),
        (number_roi, "not BOOL"),
        (enlarge, "not F32"),
        (halve, "is F16"),
        (poison, "NaN or infinity"),
        (overflow, "NaN or infinity"),
        (flatten_scale, "positive"),
        (shorten_examples, "not F32"),
        (too_many_examples, "not F32 .300, 97."),
        (too_much_nothing, "not F32 .100, 97."),
        (count_wrongly, "do not fit"),
        (count_below_zero, "1 to 100 examples"),
        (drop_scale, "lacks the tensor .recogniser.scale"),
        (scalar_scale, "not F32"),
    ],
)
def test_weights_with_impossible_content(
    folder: Path, damage: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    tensors = tensors_of(folder)
    damage(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    adopt(folder)
    with pytest.raises(UserError, match=message):
        load_model(folder)


@pytest.mark.parametrize("length", [0, 5, 8, 200, -1, -1000])
def test_truncated_weights(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    adopt(folder)
    with pytest.raises(UserError, match=r"model\.safetensors: it"):
        load_model(folder)


def test_flipped_bit_in_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        load_model(folder)


@pytest.mark.parametrize(
    ("shape", "end"), [([2**40], 2**42), ([2**62, 2**62], 4), ([-1], 4), ([1], 2**63)]
)
def test_tensor_that_claims_more_than_the_file_holds(
    folder: Path, shape: list[int], end: int
) -> None:
    header = {"network.w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    adopt(folder)
    with pytest.raises(UserError, match=r"model\.safetensors: it"):
        load_model(folder)


def test_header_that_claims_to_be_huge(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    adopt(folder)
    with pytest.raises(UserError, match=r"model\.safetensors: it"):
        load_model(folder)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    torch.save({"network.w": torch.zeros(1)}, folder / "model.safetensors")
    adopt(folder)
    with pytest.raises(UserError, match=r"model\.safetensors: it"):
        load_model(folder)


@pytest.mark.parametrize("name", ["abacus", "meta", "cuda:99", "cpu:x", ""])
def test_devices_that_cannot_be_used(name: str) -> None:
    with pytest.raises(UserError, match="cpu"):
        choose_device(name)


def test_devices_that_can_be_used() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
