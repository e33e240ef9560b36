"""A product is added: it is known afterwards, and nothing else has moved."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omnial.calibration.add_product import add_product
from omnial.calibration.calibrate_folder import calibrate_folder, score_normals
from omnial.data.layouts import discover
from omnial.data.records import split_validation
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.config_file import read_config, short_digest
from omnial.model_folder.weights_file import load_model, save_model
from omnial.models.recogniser import MOST_EXAMPLES


def scores(
    folder: Path, pictures: Sequence[Path], name: str, tile: int | None = None
) -> list[float]:
    found = Inspector(folder, device="cpu").inspect(pictures, name, tile=tile)
    return [inspection.score for inspection in found]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_new_product_is_known_and_the_old_one_stays(
    trained: Path, line: Path, tmp_path: Path
) -> None:
    part = Path(shutil.copytree(line / "tile", tmp_path / "data" / "tile"))
    region = np.zeros((64, 64), np.uint8)
    region[8:, 4:] = 255
    Image.fromarray(region).save(part / "roi.png")
    files = digests(trained)

    report = add_product(trained, [part], tmp_path / "out", device="cpu")

    assert digests(trained) == files
    before, after = load_model(trained, "cpu"), load_model(tmp_path / "out", "cpu")
    assert after.classes == ("gear", "tile")
    assert after.settings == before.settings
    for name, weights in before.network.state_dict().items():
        assert torch.equal(weights, after.network.state_dict()[name])
    assert set(after.normality) == (set(after.classes) if before.normality else set())
    for name, own in before.normality.items():
        for key, array in own.arrays().items():
            np.testing.assert_array_equal(array, after.normality[name].arrays()[key])
    old, new = before.calibration, after.calibration
    assert new.scores["gear"] == old.scores["gear"]
    assert new.threshold_for("gear") == old.threshold_for("gear")
    assert (new.pooled, new.pixel, new.false_alarm_rate) == (old.pooled, old.pixel, 0.2)
    gears = sorted((line / "gear/test").rglob("*.png"))
    assert scores(tmp_path / "out", gears, "gear") == scores(trained, gears, "gear")

    # Its threshold is the largest of the five scores held out, of which one may lie above.
    records = discover([part], need="train").classes[0].train
    learn, held_out = split_validation(records, after.settings.data, 0)
    own = scores(tmp_path / "out", [record.path for record in held_out], "tile")
    assert (len(learn), len(held_out)) == (20, 5)
    assert new.scores["tile"] == pytest.approx(sorted(own), abs=3e-5)
    assert new.per_class["tile"] == new.scores["tile"][4]
    np.testing.assert_array_equal(after.rois["tile"], region > 0)
    assert after.recogniser.counts.tolist() == [20, 20]
    np.testing.assert_array_equal(after.recogniser.examples[:20], before.recogniser.examples)
    assert report.products["tile"].figures["recognised"] >= 0.8  # type: ignore[operator]
    learnt = {short_digest(hashlib.sha256(r.path.read_bytes()).digest()) for r in learn}
    assert after.trained_files == before.trained_files | (learnt if before.normality else set())


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_what_was_done_is_written_down(trained: Path, line: Path, tmp_path: Path) -> None:
    add_product(trained, [line / "tile"], tmp_path / "out", device="cpu")

    before, after = read_config(trained), read_config(tmp_path / "out")
    (change,) = after.training["changes"]
    assert (change["command"], change["weights_before"]) == ("add", before.weights_sha256)
    product = change["products"]["tile"]
    assert (product["images"], product["held_out"], product["own"]) == (20, 5, True)
    assert 0 <= product["figures"]["image_auroc"] <= 1
    assert {k: v for k, v in after.training.items() if k != "changes"} == before.training


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_thresholds_in_tiles_stay_thresholds_in_tiles(
    trained: Path, line: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(trained, tmp_path / "model"))
    normals = tmp_path / "gear"
    shutil.copytree(line / "gear/test/good", normals / "train/good")
    calibrate_folder(model, [normals], tile=40, device="cpu")

    add_product(model, [line / "tile"], tmp_path / "out", device="cpu")

    calibration = read_config(tmp_path / "out").calibration
    inspector = Inspector(tmp_path / "out", device="cpu")
    every = score_normals(inspector, [line / "tile"], trained=(), tile=40).scores["tile"]
    nearest = [min(abs(score - other) for other in every) for score in calibration.scores["tile"]]
    assert calibration.tile == 40
    assert max(nearest) < 3e-5


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_few_images_take_the_largest_score_or_the_common_threshold(
    trained: Path, line: Path, tmp_path: Path
) -> None:
    few = tmp_path / "tile"
    few.mkdir()
    for picture in sorted((line / "tile/train/good").iterdir())[:6]:
        shutil.copy(picture, few)

    report = add_product(trained, [few], tmp_path / "out", device="cpu")

    calibration = read_config(tmp_path / "out").calibration
    (score,) = calibration.scores["tile"]
    assert not report.products["tile"].own
    assert calibration.threshold_for("tile") == max(score, calibration.pooled)


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_a_product_of_more_images_than_are_kept(trained: Path, line: Path, tmp_path: Path) -> None:
    many = tmp_path / "tile"
    many.mkdir()
    picture = np.asarray(Image.open(line / "tile/train/good/000.png"))
    for index in range(MOST_EXAMPLES + 30):
        changed = np.roll(picture, (index % 60, index), (0, 1))
        Image.fromarray(changed).save(many / f"{index:03}.png")

    add_product(trained, [many], tmp_path / "out", device="cpu")

    assert load_model(tmp_path / "out", "cpu").recogniser.counts.tolist() == [20, MOST_EXAMPLES]


@pytest.mark.parametrize("trained", ["own"], indirect=True)
class TestRefusals:
    def refused(self, model: Path, data: Path, out: Path, reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            add_product(model, [data], out, device="cpu")

    def test_a_known_class(self, trained: Path, line: Path, tmp_path: Path) -> None:
        self.refused(trained, line, tmp_path / "out", "knows gear already.*calibrate.*--init")
        assert not (tmp_path / "out").exists()

    def test_too_few_images(self, trained: Path, line: Path, tmp_path: Path) -> None:
        few = tmp_path / "tile"
        few.mkdir()
        for picture in sorted((line / "tile/train/good").iterdir())[:4]:
            shutil.copy(picture, few)
        self.refused(trained, few, tmp_path / "out", "Too few images of tile.*at least 5")

    def test_copies_of_one_image(self, trained: Path, line: Path, tmp_path: Path) -> None:
        (tmp_path / "tile").mkdir()
        for index in range(10):
            shutil.copy(line / "tile/train/good/000.png", tmp_path / f"tile/{index}.png")
        self.refused(trained, tmp_path / "tile", tmp_path / "out", "Too few images of tile")

    def test_an_occupied_folder(self, trained: Path, line: Path) -> None:
        files = digests(trained)
        self.refused(trained, line / "tile", trained, "not an empty folder")
        assert digests(trained) == files

    def test_a_file_that_is_no_image(self, trained: Path, line: Path, tmp_path: Path) -> None:
        part = Path(shutil.copytree(line / "tile", tmp_path / "tile"))
        (part / "train/good/bad.png").write_bytes(b"no image")
        self.refused(trained, part, tmp_path / "out", "1 of .* images cannot be used")
        report = add_product(trained, [part], tmp_path / "out", device="cpu", skip_bad_files=True)
        assert [bad.path.name for bad in report.bad_files] == ["bad.png"]


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_changes_of_a_folder_from_elsewhere_may_be_anything(
    trained: Path, line: Path, tmp_path: Path
) -> None:
    model = load_model(trained, "cpu")
    model.training = {**model.training, "changes": "none"}
    save_model(tmp_path / "model", model)

    add_product(tmp_path / "model", [line / "tile"], tmp_path / "out", device="cpu")

    text = (tmp_path / "out/config.json").read_text()
    assert [c["command"] for c in json.loads(text)["training"]["changes"]] == ["add"]
