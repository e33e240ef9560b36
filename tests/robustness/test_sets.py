"""Adversarial sets: what they hold, that they are the same everywhere, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnial.attacks.pgd import LEVELS
from omnial.config.settings import Reading
from omnial.demo.production_line import CLASS_NAMES
from omnial.errors import UserError
from omnial.robustness import build_set as set_builder
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.build_set import SetPlan, build_set
from omnial.robustness.clean_samples import from_grid, perturbation, to_grid, wants_defect
from omnial.robustness.objectives import attack_levels

CLASSES = CLASS_NAMES[:2]
PLAN = SetPlan(samples=2, batch_size=1)  # as in conftest.py

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")


def test_every_8_bit_value_survives_the_grid_to_the_bit() -> None:
    levels = np.arange(256, dtype=np.uint8)
    unit = levels.astype(np.float32) / np.float32(255)
    assert np.array_equal(from_grid(to_grid(unit)), unit)
    assert np.array_equal(to_grid(unit), 257 * levels.astype(np.uint16))


@given(st.floats(0, 1, width=32), st.floats(-1, 1), st.sampled_from([1.0, 2.0, 4.0, 8.0]))
def test_a_perturbation_survives_within_its_ball(clean: float, move: float, level: float) -> None:
    kept = to_grid(np.array([clean], np.float32))
    attacked = np.clip(from_grid(kept) + np.float32(move * level / 255), 0, 1)

    steps = perturbation(attacked, kept, level)

    assert abs(int(steps[0])) <= 257 * level
    assert abs(float((kept + steps.astype(int))[0]) / 65535 - float(attacked[0])) <= 0.5001 / 65535


def test_the_smallest_radius_is_not_lost() -> None:
    clean = to_grid(np.full((1, 3, 4, 4), 0.5, np.float32))
    up = perturbation(from_grid(clean) + np.float32(1 / 255), clean, 1.0)
    assert set(np.unique(up)) == {257}


def test_defects_are_spread_evenly() -> None:
    wanted = [wants_defect(number, 0.8) for number in range(50)]
    assert sum(wanted) == 40
    assert [sum(wanted[start : start + 5]) for start in range(0, 50, 5)] == [4] * 10
    assert not any(wants_defect(number, 0.0) for number in range(9))
    assert all(wants_defect(number, 1.0) for number in range(9))


def test_what_a_set_holds(made: Path, surrogate: Path) -> None:
    data = AdversarialSet(made)
    identity = data.manifest.identity

    assert data.classes == CLASSES
    assert [level.name for level in data.levels] == ["8t", "8", "4", "2", "1"]
    assert (identity.samples, identity.steps, identity.alpha) == (2, 5, 0.5)
    config = json.loads((surrogate / "config.json").read_text("utf-8"))
    assert identity.surrogate["weights_sha256"] == config["weights_sha256"]
    assert identity.surrogate["system"] == "surrogate"
    assert not config["settings"]["synthesis"]["panels"]
    assert identity.recipe["panels"]
    for name in CLASSES:
        (clean,) = list(data.batches(name, 10))
        assert clean.numbers == (0, 1)
        assert clean.mask.any(axis=(1, 2)).tolist() == [
            wants_defect(number, 0.8) for number in range(2)
        ]
        changed = (clean.anomalous != clean.normal).any(axis=1)
        assert not (changed & ~clean.panel).any()
        assert not (clean.mask & ~changed).any()
        for level in LEVELS:
            moved = np.abs(clean.images(level.name) - clean.images())
            assert moved.max() <= level.epsilon * 1.0001
            assert moved.mean() > 0.4 * level.epsilon


def test_the_same_bytes_from_any_run(
    made: Path, data: Path, surrogate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted run goes on to the very files of an undisturbed one, and says what it is."""
    out, write = tmp_path / "set", set_builder.write_class
    written: list[Path] = []

    def stopping(folder: Path, class_name: str, arrays: Any) -> str:
        if written:
            raise KeyboardInterrupt
        written.append(folder / f"{class_name}.safetensors")
        return write(folder, class_name, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(set_builder, "write_class", stopping)
        with pytest.raises(KeyboardInterrupt):
            build_set(surrogate, [data], out, PLAN, device="cpu")
    with pytest.raises(UserError, match="not finished"):
        AdversarialSet(out)
    with pytest.raises(UserError, match="seed differ"):
        build_set(surrogate, [data], out, SetPlan(2, seed=1, batch_size=1), device="cpu")
    done = written[0].stat().st_mtime_ns

    build_set(surrogate, [data], out, PLAN, device="cpu")

    assert written[0].stat().st_mtime_ns == done  # a finished class is not made again
    first, second = AdversarialSet(made).manifest, AdversarialSet(out).manifest
    assert first.identity == second.identity
    assert first.classes == second.classes
    before = (out / "manifest.json").read_bytes()
    build_set(surrogate, [data], out, PLAN, device="cpu")  # finished: nothing is done
    assert (out / "manifest.json").read_bytes() == before


@pytest.mark.filterwarnings("ignore:TF32")
def test_other_rounding_gives_the_same_samples_and_an_attack_as_strong(
    made: Path, data: Path, surrogate: Path, tmp_path: Path
) -> None:
    """Another batch size and other kernels, as on another machine, may turn signs near zero."""
    plan = SetPlan(samples=2, batch_size=2)
    with torch.backends.mkldnn.flags(enabled=False):
        build_set(surrogate, [data], tmp_path / "set", plan, device="cpu")
    first, second = AdversarialSet(made), AdversarialSet(tmp_path / "set")

    assert first.manifest.identity == second.manifest.identity
    for name in CLASSES:
        ours, theirs = next(first.batches(name, 3)), next(second.batches(name, 3))
        assert np.array_equal(ours.mask, theirs.mask)
        assert np.abs(ours.anomalous.astype(int) - theirs.anomalous).max() <= 1
    for level, trace in first.traces.items():
        again = second.traces[level]
        np.testing.assert_allclose(trace.unattacked, again.unattacked, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(trace.values[0], again.values[0], rtol=1e-3, atol=1e-4)
        assert trace.rise() == pytest.approx(again.rise(), rel=0.25)


def test_images_that_are_read_otherwise_make_another_set(
    made: Path, data: Path, surrogate: Path
) -> None:
    twelve = Reading(significant_bits=12)
    with pytest.raises(UserError, match="data differ"):
        build_set(surrogate, [data], made, PLAN, reading=twelve, device="cpu")


def test_the_set_attacks_what_it_was_made_from(made: Path, surrogate: Path) -> None:
    """Attacking the stored clean samples again gives the stored perturbations."""
    from omnial.model_folder.weights_file import load_model

    data, model = AdversarialSet(made), load_model(surrogate, "cpu")
    batch = next(data.batches(CLASSES[0], PLAN.batch_size))
    for level, images, _ in attack_levels(model, batch, LEVELS, PLAN.schedule, PLAN.seed):
        stored = torch.from_numpy(batch.images(level.name))
        torch.testing.assert_close(stored, images, atol=0.51 / 65535, rtol=0)


def other_seed(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"seed": 0', '"seed": 1'), "utf-8")


def one_bit(folder: Path) -> None:
    path = sorted(folder.glob("*.safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def no_file(folder: Path) -> None:
    sorted(folder.glob("*.safetensors"))[0].unlink()


def no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{", "utf-8")


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (other_seed, "manifest.json"),
        (one_bit, ".safetensors"),
        (no_file, ".safetensors"),
        (no_json, "manifest.json"),
        (no_manifest, "manifest.json"),
    ],
)
def test_a_changed_set_is_refused_by_the_name_of_the_file(
    made: Path, tmp_path: Path, change: Callable[[Path], None], named: str
) -> None:
    shutil.copytree(made, tmp_path / "set")
    change(tmp_path / "set")
    with pytest.raises(UserError, match=named) as refused:
        AdversarialSet(tmp_path / "set")
    assert "omnial attack" in str(refused.value)


def test_a_class_that_the_model_does_not_know_is_refused(
    data: Path, surrogate: Path, tmp_path: Path
) -> None:
    shutil.copytree(data / CLASSES[0], tmp_path / "data" / "teapot")
    with pytest.raises(UserError, match="teapot"):
        build_set(surrogate, [tmp_path / "data"], tmp_path / "set", PLAN, device="cpu")
    assert not (tmp_path / "set").exists()


def test_a_folder_with_other_files_is_left_alone(
    data: Path, surrogate: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        build_set(surrogate, [data], tmp_path, PLAN, device="cpu")
