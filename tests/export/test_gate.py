"""What counts as good, what is refused, and what is found out on another machine."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from omnial.errors import UserError
from omnial.export import export_model as export_module
from omnial.export.export_model import export_model
from omnial.export.gate import TOLERANCES, Reference, compare, from_data, made_up, spread
from omnial.files import file_digest
from omnial.inference.inspector import Inspector
from omnial.inference.verify import differences, verify
from omnial.metrics.ranking import average_precision, count
from omnial.model_folder.export_folder import Format, read_export
from omnial.models.prediction import Prediction
from omnial.models.thresholds import Calibration, calibrate
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel


class Off(TorchBackend):
    """PyTorch with an error added to maps and scores."""

    def __init__(self, model: TrainedModel, maps: float, scores: float) -> None:
        super().__init__(model)
        self.error = (np.float32(maps), scores)

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        found = super().run(images, valid)
        maps, scores = found.score_maps + self.error[0], found.scores + self.error[1]
        return found._replace(score_maps=maps, scores=scores)

    def facts(self) -> dict[str, str]:
        return {"device": "off"}


@pytest.fixture(scope="module")
def trial(model: TrainedModel, data: Path) -> Reference:
    return Reference.of(
        "data", from_data([data], model, 100).compared, TorchBackend(model), model.settings
    )


def test_differences_of_two_results_in_closed_form() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    others = maps.copy()
    others[1, 0, 0], others[0, 2, 2] = 0.5, np.nan
    found = differences(maps, np.zeros(2), others, np.array([0.1, -0.2]))
    assert (found.images, found.map_largest, found.score_largest) == (2, 1.0, 0.2)
    assert found.map_mean == pytest.approx(1.5 / 32)


@pytest.mark.parametrize(
    ("maps", "scores", "reason"),
    [(2e-3, 0.0, "largest difference of a map"), (0.0, -2e-3, "score"), (2e-4, 0.0, "mean")],
)
def test_float32_is_held_to_a_thousandth(
    model: TrainedModel, trial: Reference, maps: float, scores: float, reason: str
) -> None:
    exact = compare(TorchBackend(model), trial, "fp32", model.calibration)
    assert exact.passed
    assert exact.differences.map_largest == 0.0
    off = compare(Off(model, maps, scores), trial, "fp32", model.calibration)
    assert not off.passed
    assert any(reason in text for text in off.reasons)
    assert compare(Off(model, maps, scores), trial, "int8", model.calibration).passed


def test_pixel_ap_is_the_mean_over_classes_of_all_their_pixels(
    model: TrainedModel, trial: Reference
) -> None:
    gate = compare(TorchBackend(model), trial, "fp32", model.calibration)
    expected = []
    for name in model.classes:
        values, labels = [], []
        for sample, score_map in zip(trial.samples, trial.maps, strict=True):
            if sample.record.class_name == name:
                mask = sample.mask if sample.mask is not None else np.zeros_like(sample.valid)
                values.append(score_map[sample.valid])
                labels.append(mask[sample.valid])
        counts = count(np.concatenate(values), np.concatenate(labels))
        assert counts is not None
        expected.append(average_precision(counts))
    assert gate.pixel_ap == gate.pixel_ap_reference == pytest.approx(np.mean(expected))


def test_a_loss_of_pixel_ap_is_refused(model: TrainedModel, trial: Reference) -> None:
    masks = np.stack([s.valid & False if s.mask is None else s.mask for s in trial.samples]).astype(
        np.float32
    )
    maps = np.where(masks > 0, np.stack(trial.maps) + 1e-6, 0).astype(np.float32)
    perfect = replace(trial, maps=tuple(maps))
    gate = compare(TorchBackend(model), perfect, "int8", model.calibration)
    assert gate.pixel_ap_reference == 1.0
    assert any("pixel AP" in text for text in gate.reasons)


def test_changed_verdicts_are_counted(model: TrainedModel, trial: Reference) -> None:
    every = Off(model, 0.0, 2.0)
    before = [
        score > model.calibration.threshold_for(sample.record.class_name)
        for sample, score in zip(trial.samples, trial.scores, strict=True)
    ]
    gate = compare(every, trial, "int8", model.calibration)
    assert gate.verdicts_changed == pytest.approx(1 - np.mean(before))


def at_the_threshold(
    trial: Reference, count: int, above: float = 0.0
) -> tuple[Reference, Calibration]:
    """Copies of a picture, and a threshold that lies that far above its score."""
    same = Reference(
        trial.source,
        trial.samples[:1] * count,
        trial.settings,
        trial.maps[:1] * count,
        trial.scores[:1].repeat(count),
    )
    limit = float(trial.scores[0]) + above
    name = trial.samples[0].record.class_name
    return same, calibrate({name: [limit]}, 0.5, 0.5)


@pytest.mark.parametrize("noise", [-5e-5, 5e-5])
def test_float_noise_at_the_threshold_changes_no_verdict(
    model: TrainedModel, trial: Reference, noise: float
) -> None:
    copies, calibration = at_the_threshold(trial, 20)
    gate = compare(Off(model, 0.0, noise), copies, "fp32", calibration)
    assert (gate.verdicts_changed, gate.passed) == (0.0, True)


def test_changed_verdicts_fail_although_scores_are_close(
    model: TrainedModel, trial: Reference
) -> None:
    copies, calibration = at_the_threshold(trial, 20, above=2e-4)
    gate = compare(Off(model, 0.0, 5e-4), copies, "fp32", calibration)
    assert (gate.verdicts_changed, gate.passed) == (1.0, False)
    assert gate.reasons == ("20 of 20 verdicts changed, allowed 0 %",)


@pytest.mark.parametrize(("changed", "passed"), [(1, True), (2, False)])
def test_reduced_precision_may_change_one_verdict_in_fifty(
    model: TrainedModel, trial: Reference, changed: int, passed: bool
) -> None:
    class OffAtFirst(TorchBackend):
        """PyTorch that errs on the first images."""

        left = changed

        def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
            found = super().run(images, valid)
            wrong = np.arange(len(images)) < self.left
            self.left -= int(wrong.sum())
            return found._replace(scores=found.scores + 0.05 * wrong)

    copies, calibration = at_the_threshold(trial, 50, above=0.01)
    for precision, good in (("fp16", passed), ("fp32", False)):
        gate = compare(OffAtFirst(model), copies, precision, calibration)  # type: ignore[arg-type]
        assert gate.verdicts_changed == changed / 50
        assert gate.passed is good


def test_images_are_taken_evenly_and_from_every_class(model: TrainedModel, data: Path) -> None:
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread(range(3), 4) == [0, 1, 2]
    found = from_data([data], model, 4)
    kinds = [(s.record.class_name, s.record.kind) for s in found.compared]
    assert sorted(kinds) == [
        *(("bolt", "good"), ("bolt", "hole"), ("tile", "good"), ("tile", "hole"))
    ]
    region = model.rois["tile"]
    assert all((s.valid == region).all() for s in found.compared if s.record.class_name == "tile")
    assert len(found.calibration) == 16
    assert found.calibration[0].dtype == np.float32
    assert len(made_up(model.settings.data)) == 4


def test_an_export_that_fails_the_gate_says_so_wherever_it_is_opened(
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    strict = TOLERANCES["fp32"].model_copy(update={"map_largest": 0.0, "map_mean": 0.0})
    monkeypatch.setitem(TOLERANCES, "fp32", strict)
    summary = export_model(model_dir, tmp_path / "out", format_="openvino", precision="fp32")
    assert not summary.gate.passed
    assert summary.gate.reasons
    assert not verify(tmp_path / "out").passed
    Inspector(tmp_path / "out")
    assert "accuracy gate" in caplog.text


def test_verify_repeats_the_comparison(exports: dict[Format, Path]) -> None:
    for folder in exports.values():
        found = verify(folder)
        assert found.passed
        assert found.differences.images == 4
        assert found.differences.map_largest < 1e-4


@pytest.mark.parametrize("name", ["model.onnx", "arrays.safetensors", "samples.safetensors"])
def test_a_changed_file_is_found(exports: dict[Format, Path], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "copy"))
    content = bytearray((folder / name).read_bytes())
    # Amid numbers: what no longer is a file of its format is refused as such.
    middle = len(content) // 2
    if name == "model.onnx":
        weights = max(onnx.load(folder / name).graph.initializer, key=lambda w: len(w.raw_data))
        middle = content.index(weights.raw_data) + len(weights.raw_data) // 2
    content[middle] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: it is not the file"):
        verify(folder)
    with pytest.raises(UserError, match=rf"{name}: it is not the file"):
        Inspector(folder)


def test_another_network_with_the_right_digest_fails(
    exports: dict[Format, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "copy"))
    network = onnx.load(folder / "model.onnx")
    largest = max(network.graph.initializer, key=lambda weight: len(weight.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values[: len(values) // 2] *= np.float32(-1)
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    onnx.save(network, folder / "model.onnx")
    record = json.loads((folder / "export.json").read_text())
    record["files"]["model.onnx"] = file_digest(folder / "model.onnx")
    (folder / "export.json").write_text(json.dumps(record))
    found = verify(folder)
    assert not found.passed
    assert found.differences.map_largest > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "pickle"}, "format"),
        ({"surplus": 1}, "surplus"),
        ({"files": {}}, "digests of other files"),
        ({"files": {"../model.onnx": "0"}}, "digests of other files"),
        ({"export_version": 1}, "another version of omnial"),
    ],
)
def test_a_record_is_not_believed(
    exports: dict[Format, Path], tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "copy"))
    record = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(UserError, match=message):
        read_export(folder)


def test_int8_passes_or_fails_by_its_figures_and_auto_takes_what_passed(
    model_dir: Path, data: Path, tmp_path: Path
) -> None:
    seen: list[str] = []
    record = export_model(
        model_dir,
        tmp_path / "out",
        format_="openvino",
        data=[data],
        progress=lambda what, *_: seen.append(what),
    )
    tried = [candidate.precision for candidate in record.candidates]
    assert tried[0] == "fp32"
    assert "int8" in tried
    assert record.gate.passed
    assert record.gate.images == "data"
    assert record.gate.pixel_ap is not None
    passed = [c for c in record.candidates if c.passed]
    assert record.precision == min(passed, key=lambda c: c.milliseconds).precision
    assert verify(tmp_path / "out").passed
    assert any("int8" in step for step in seen)


def test_auto_without_data_tries_no_int8(model_dir: Path, tmp_path: Path) -> None:
    record = export_model(model_dir, tmp_path / "out", format_="onnx")
    assert (record.precision, record.gate.images, record.candidates) == ("fp32", "synthetic", ())


def test_test_images_alone_calibrate_no_int8(model_dir: Path, data: Path, tmp_path: Path) -> None:
    for test in data.glob("*/test"):
        shutil.copytree(test, tmp_path / "data" / test.parent.name / "test")
    given = {"format_": "onnx", "data": [tmp_path / "data"]}
    record = export_model(model_dir, tmp_path / "out", **given)
    assert (record.precision, record.gate.images, record.candidates) == ("fp32", "data", ())
    with pytest.raises(UserError, match="normal training images"):
        export_model(model_dir, tmp_path / "int8", precision="int8", **given)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_int8_is_really_quantized(
    model: TrainedModel, model_dir: Path, data: Path, tmp_path: Path, name: Format
) -> None:
    out = tmp_path / "out"
    record = export_model(
        model_dir, out, format_=name, precision="int8", data=[data], with_pictures=True
    )
    assert (record.precision, record.hint) == ("int8", "bf16")
    assert record.gate.differences.map_largest > 0
    text = (out / ("model.onnx" if name == "onnx" else "model.xml")).read_bytes()
    assert (b"QuantizeLinear" if name == "onnx" else b'type="FakeQuantize"') in text
    images, valid = np.zeros((3, 3, 64, 96), np.float32), np.ones((3, 64, 96), bool)
    assert Inspector(out).backend.run(images, valid).score_maps.shape == (3, 64, 96)


def test_half_weights_are_half_the_size_and_nearly_the_same(
    model_dir: Path, exports: dict[Format, Path], tmp_path: Path
) -> None:
    summary = export_model(model_dir, tmp_path / "out", format_="onnx", precision="fp16")
    assert summary.gate.passed
    before, after = (
        sum(len(weight.raw_data) for weight in onnx.load(folder / "model.onnx").graph.initializer)
        for folder in (exports["onnx"], tmp_path / "out")
    )
    assert after < 0.6 * before


def test_mistakes_are_refused_before_anything_is_written(
    model_dir: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="bf16"):
        export_model(model_dir, out, format_="onnx", precision="bf16")
    with pytest.raises(UserError, match="--data"):
        export_model(model_dir, out, format_="onnx", precision="int8")
    with pytest.raises(UserError, match="--data"):
        export_model(model_dir, out, format_="onnx", precision="fp32", with_pictures=True)
    assert not out.exists()
    with pytest.raises(UserError, match="not empty"):
        export_model(model_dir, model_dir, format_="onnx", precision="fp32")


def test_a_failed_export_leaves_the_old_one(
    model_dir: Path, exports: dict[Format, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(exports["onnx"], tmp_path / "copy"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_module, "write_samples", full)
    with pytest.raises(Exception, match="No space left"):
        export_model(model_dir, folder, format_="onnx", precision="fp32")
    assert verify(folder).passed
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
