"""Thresholds and drift of folders, against a plain reading of the rule."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from omnial.calibration import calibrate_folder as module
from omnial.calibration.calibrate_folder import calibrate_folder
from omnial.calibration.drift import check_drift
from omnial.errors import RunError, UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.config_file import read_config
from omnial.model_folder.weights_file import load_model
from omnial.models.thresholds import calibrate


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def naive(scores: list[float], rate: float) -> float | None:
    """The smallest score that at most rate x (n + 1) - 1 others exceed."""
    for score in sorted(scores):
        if sum(other > score for other in scores) + 1 <= rate * (len(scores) + 1) + 1e-9:
            return score
    return None


@pytest.mark.parametrize("rate", [0.1, 0.25])
def test_thresholds_are_those_of_the_rule(folder: Path, data: Path, rate: float) -> None:
    inspector = Inspector(folder)
    scores = {
        name: [
            inspector.inspect(path, name).score
            for path in sorted((data / name / "train/good").iterdir())
        ]
        for name in inspector.classes
    }
    report = calibrate_folder(folder, [data], false_alarm_rate=rate)
    stored = load_model(folder, "cpu").calibration
    assert stored == report.calibration
    for name, values in scores.items():
        assert stored.per_class[name] == pytest.approx(naive(values, rate), abs=1e-4)
        np.testing.assert_allclose(stored.scores[name], sorted(values), atol=1e-4)
    together = [score for values in scores.values() for score in values]
    assert stored.pooled == pytest.approx(naive(together, rate), abs=1e-4)
    assert stored.pixel == inspector.calibration.pixel
    assert report.overall.images == 20
    for row in report.classes.values():
        assert row.interval is not None
        assert row.interval.low < rate < row.interval.high
    assert any("Few images" in text for text in report.warnings) is (rate == 0.1)


def trained_on(folder: Path, paths: Sequence[Path]) -> None:
    """Let a folder say that its network was trained on these files."""
    digests = frozenset(hashlib.sha256(path.read_bytes()).digest()[:8] for path in paths)
    config = read_config(folder).model_copy(update={"trained_files": digests})
    (folder / "config.json").write_text(config.to_text())


def scores_of(folder: Path, paths: Sequence[Path], name: str) -> list[float]:
    inspector = Inspector(folder)
    return sorted(inspector.inspect(path, name).score for path in paths)


def test_trained_files_set_no_threshold(folder: Path, data: Path, tmp_path: Path) -> None:
    """Whatever they are called, wherever they lie, however many new ones lie next to them."""
    images = sorted((data / "bolt/train/good").iterdir())
    trained_on(folder, images[:7])
    mixed = tmp_path / "bolt/train/good"
    mixed.mkdir(parents=True)
    for number, path in enumerate(images):
        shutil.copyfile(path, mixed / f"part {9 - number}.png")

    report = calibrate_folder(folder, [tmp_path / "bolt"])

    assert (report.used, report.trained) == ({"bolt": 3}, {"bolt": 7})
    assert report.classes["bolt"].images == 3
    expected = scores_of(folder, images[7:], "bolt")
    np.testing.assert_allclose(report.calibration.scores["bolt"], expected, atol=1e-4)


def test_as_many_new_images_as_were_trained_on_all_count(folder: Path, data: Path) -> None:
    trained_on(folder, sorted((data / "tile/train/good").iterdir()))
    report = calibrate_folder(folder, [data / "bolt"])
    assert (report.used, report.trained) == ({"bolt": 10}, {"bolt": 0})
    with pytest.raises(UserError, match="trained on all of these"):
        calibrate_folder(folder, [data / "tile"])


def test_trained_files_do_not_hide_a_drift(folder: Path, data: Path) -> None:
    images = sorted((data / "bolt/train/good").iterdir())
    trained_on(folder, images[:4])
    report = check_drift(folder, [data / "bolt"])
    assert report.trained == {"bolt": 4}
    assert report.classes["bolt"].recent == 6


def test_other_classes_keep_their_scores(folder: Path, data: Path) -> None:
    before = Inspector(folder).calibration
    report = calibrate_folder(folder, [data / "bolt"], false_alarm_rate=0.3)
    assert report.kept == ("tile",)
    assert report.calibration.scores["tile"] == before.scores["tile"]
    assert report.calibration.per_class["tile"] == naive(list(before.scores["tile"]), 0.3)
    tiled = calibrate_folder(folder, [data / "bolt"], tile=32)
    assert tiled.kept == ()
    assert tiled.calibration.per_class["tile"] is None
    assert Inspector(folder).calibration.tile == 32
    again = calibrate_folder(folder, [data / "bolt"])
    assert again.calibration.tile == 32  # as before, unless another is asked for
    assert again.calibration.scores == tiled.calibration.scores
    assert calibrate_folder(folder, [data / "bolt"], tile=None).calibration.tile is None


def test_thresholds_of_other_products_that_were_set_otherwise_stay(
    folder: Path, data: Path
) -> None:
    """`add` takes the largest of few scores, `learn` lowers one to find what was missed."""
    before = calibrate({"bolt": np.arange(10) / 10, "tile": [0.6, 0.7]}, 0.5, 0.2)
    assert before.per_class["tile"] is None
    module._write(folder, folder, before.changed({}, {"tile": 0.7}))
    for rate in (None, 0.3):  # at any other rate, two scores are as few
        report = calibrate_folder(folder, [data / "bolt"], false_alarm_rate=rate)
        assert report.calibration.per_class["tile"] == 0.7
    calibrate_folder(folder, [data], false_alarm_rate=0.2)
    lowered = Inspector(folder).calibration.changed({}, {"tile": 0.01})
    module._write(folder, folder, lowered)
    report = calibrate_folder(folder, [data / "bolt"])
    assert report.calibration.per_class["tile"] == 0.01
    # Not that of the rule: what its own scores say of it.
    above = sum(score > 0.0101 for score in lowered.scores["tile"])
    count = len(lowered.scores["tile"])
    assert report.classes["tile"].interval == module.share_interval(above, count)
    assert calibrate_folder(folder, [data]).calibration.per_class["tile"] != 0.01


def test_scores_that_are_too_few_for_a_stricter_rate_set_no_threshold(
    folder: Path, data: Path
) -> None:
    """One that the rule set at another rate is not kept instead."""
    scores = {"bolt": np.arange(20) / 20, "tile": np.arange(10) / 10}
    before = calibrate(scores, 0.5, 0.2)
    assert before.per_class["tile"] is not None
    module._write(folder, folder, before)
    report = calibrate_folder(folder, [data / "bolt"], false_alarm_rate=0.05)
    assert report.calibration.per_class["tile"] is None
    assert "tile" in report.calibration.notes()[0]
    assert not report.classes["tile"].own


def test_images_that_were_anomalous_until_now_are_doubted(folder: Path, data: Path) -> None:
    """But for scores of another kind: those of tiles say nothing about a threshold of images."""
    module._write(folder, folder, calibrate({"bolt": [0.0] * 40, "tile": [0.0] * 40}, 0.5, 0.1))
    tiled = calibrate_folder(folder, [data / "bolt"], out=folder.parent / "tiled", tile=32)
    whole = calibrate_folder(folder, [data / "bolt"])
    for report, doubted in ((tiled, False), (whole, True)):
        said = any("10 of the 10 images of bolt were anomalous" in w for w in report.warnings)
        assert said is doubted


def test_a_class_can_be_named(folder: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "tile/train/good", tmp_path / "monday")
    with pytest.raises(UserError, match="--class"):
        calibrate_folder(folder, [tmp_path / "monday"])
    report = calibrate_folder(folder, [tmp_path / "monday"], class_name="tile")
    assert report.classes["tile"].images == 10


def test_a_copy_leaves_the_folder_as_it_was(folder: Path, data: Path, tmp_path: Path) -> None:
    before = (folder / "config.json").read_bytes()
    calibrate_folder(folder, [data], out=tmp_path / "copy", false_alarm_rate=0.2)
    assert (folder / "config.json").read_bytes() == before
    assert load_model(tmp_path / "copy", "cpu").calibration.false_alarm_rate == 0.2
    with pytest.raises(UserError, match="not an empty folder"):
        calibrate_folder(folder, [data], out=tmp_path / "copy")


def test_a_failed_write_changes_nothing(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "config.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "replace_together", full)
    with pytest.raises(RunError, match="No space left"):
        calibrate_folder(folder, [data])
    assert (folder / "config.json").read_bytes() == before


def test_a_class_without_scores_is_not_compared(folder: Path, data: Path) -> None:
    calibrate_folder(folder, [data / "tile"])
    config = json.loads((folder / "config.json").read_text())
    config["calibration"]["scores"]["bolt"] = []
    config["calibration"]["counts"]["bolt"] = 0
    (folder / "config.json").write_text(json.dumps(config))
    report = check_drift(folder, [data])
    assert set(report.classes) == {"tile"}
    assert report.not_compared == ("bolt",)
    assert not report.drifted
    with pytest.raises(UserError, match="Nothing to compare"):
        check_drift(folder, [data / "bolt"])


def test_images_that_were_anomalous_until_now_are_asked_about(folder: Path, data: Path) -> None:
    scores = scores_of(folder, sorted((data / "bolt/train/good").iterdir()), "bolt")
    for level, asked in ((scores[1], True), (scores[8], False)):
        config = read_config(folder)
        changed = config.calibration.changed({}, {"bolt": level})
        text = config.model_copy(update={"calibration": changed}).to_text()
        (folder / "config.json").write_text(text)
        report = calibrate_folder(folder, [data / "bolt"])
        assert any("are they good, and of bolt?" in text for text in report.warnings) is asked
