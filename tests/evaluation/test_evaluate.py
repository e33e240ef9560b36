import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from omnial.config.settings import DataSettings, Settings
from omnial.data.layouts import discover
from omnial.data.records import BadFile, Catalogue
from omnial.errors import RunError, UserError
from omnial.evaluation.evaluate import Evaluation, evaluate_model
from omnial.evaluation.result import FIGURES, EvaluationResult, choose, write_metrics
from omnial.metrics.bootstrap import resample
from omnial.models.normality import Normal, Normality
from omnial.models.prediction import Prediction
from omnial.models.recogniser import Recogniser
from omnial.models.system import Output
from omnial.models.thresholds import Calibration
from omnial.models.trained_model import TrainedModel

SIZE = 32
SETTINGS = Settings(data=DataSettings(height=SIZE, width=SIZE))
CALIBRATION = Calibration(
    per_class={"bolt": 0.4, "nut": None},
    pooled=0.6,
    pixel=0.3,
    false_alarm_rate=0.05,
    counts={"bolt": 40, "nut": 3},
    scores={"bolt": (0.2,) * 40, "nut": (0.2,) * 3},
)


def save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def part(rng: np.random.Generator, level: int, size: int = SIZE) -> NDArray[np.uint8]:
    return rng.integers(0, level, (size, size, 3)).astype(np.uint8)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """`bolt` has masks for dents and none for rust; `nut` has good images alone."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for name in ("bolt", "nut"):
        for i in range(3):
            save(root / name / "train" / "good" / f"{i}.png", part(rng, 90))
        for i in range(4):
            save(root / name / "test" / "good" / f"{i}.png", part(rng, 90 + 30 * i))
    for i in range(3):
        image, mask = part(rng, 90), np.zeros((SIZE, SIZE), np.uint8)
        mask[4 : 9 + i, 6:12] = 255
        image[mask > 0] = np.maximum(image[mask > 0], 140 + 5 * i)
        save(root / "bolt" / "test" / "dent" / f"{i}.png", image)
        save(root / "bolt" / "ground_truth" / "dent" / f"{i}_mask.png", mask)
    for i in range(2):
        save(root / "bolt" / "test" / "rust" / f"{i}.png", part(rng, 255))
    return discover([root], need="test")


class Brightness:
    """Scores a pixel by its red value; rebuilds the image a little too dark."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        self.seen.append(len(images))
        maps = np.where(valid, images[:, 0], np.float32(0))
        scores = maps.mean(axis=(1, 2)).astype(np.float64)
        return Prediction(maps, scores, images - 0.1, jnd=0.5 * images[:, 1])


class Plain(Brightness):
    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        return super().run(images, valid)._replace(reconstruction=None, jnd=None)


def pixels_of(path: Path) -> NDArray[np.float32]:
    return np.asarray(Image.open(path), dtype=np.float32)[..., 0] / 255


def evaluate(catalogue: Catalogue, **options: object) -> EvaluationResult:
    return Evaluation(Brightness(), SETTINGS, **options).run(catalogue)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_figures_of_a_class_and_its_kinds(catalogue: Catalogue, batch_size: int) -> None:
    bolt = evaluate(catalogue, batch_size=batch_size).classes[0]
    records = catalogue.classes[0].test
    assert [i.record for i in bolt.images] == list(records)
    scores = {r: pixels_of(r.path).mean() for r in records}
    for kinds, figures in (
        ({"good", "dent", "rust"}, bolt.figures),
        ({"good", "dent"}, bolt.kinds["dent"]),
        ({"good", "rust"}, bolt.kinds["rust"]),
    ):
        chosen = [r for r in records if r.kind in kinds]
        labels = [r.anomalous for r in chosen]
        values = [scores[r] for r in chosen]
        assert figures["image_auroc"] == pytest.approx(roc_auc_score(labels, values), abs=1e-9)
        expected = average_precision_score(labels, values)
        assert figures["image_ap"] == pytest.approx(expected, abs=1e-9)
    # Pixels: the good images and the dents; rust has no masks, so its pixels have no truth.
    known = [r for r in records if r.kind != "rust"]
    flat = np.concatenate([pixels_of(r.path).ravel() for r in known])
    truth = np.concatenate(
        [
            (np.asarray(Image.open(r.mask)) > 0).ravel() if r.mask else np.zeros(SIZE**2, bool)
            for r in known
        ]
    )
    for figures in (bolt.figures, bolt.kinds["dent"]):
        assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
        expected = average_precision_score(truth, flat)
        assert figures["pixel_ap"] == pytest.approx(expected, abs=1e-9)
        assert figures["aupro"] is not None
    assert bolt.kinds["rust"]["pixel_auroc"] is None
    assert bolt.kinds["rust"]["aupro"] is None
    assert set(bolt.curves) == {"image_roc", "image_pr", "pixel_roc", "pixel_pr"}


def test_a_device_that_helps_changes_nothing(catalogue: Catalogue) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    helped, alone = evaluate(catalogue, device=device), evaluate(catalogue)
    for ours, others in zip(helped.classes, alone.classes, strict=True):
        assert ours.kinds == others.kinds
        for name, value in others.figures.items():
            assert ours.figures[name] == (value and pytest.approx(value, rel=0, abs=1e-9))


def test_reconstruction_is_measured_on_good_test_images_alone(catalogue: Catalogue) -> None:
    bolt = evaluate(catalogue).classes[0]
    expected = []
    for record in catalogue.classes[0].test:
        if not record.anomalous:
            image = np.asarray(Image.open(record.path), dtype=np.float64) / 255
            error = np.mean((np.clip(image - 0.1, 0, 1) - image) ** 2)
            expected.append(-10 * np.log10(error))
    assert bolt.figures["psnr"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert bolt.figures["ssim"] is not None
    assert bolt.kinds["dent"]["psnr"] is None


def test_a_class_without_defects_has_no_ranking(catalogue: Catalogue) -> None:
    result = evaluate(catalogue)
    nut = result.classes[1]
    assert {name for name, value in nut.figures.items() if value is not None} == {"psnr", "ssim"}
    assert (nut.kinds, nut.curves) == ({}, {})
    assert result.mean_over["image_auroc"] == 1
    assert result.mean_over["psnr"] == 2
    assert result.mean["image_auroc"] == result.classes[0].figures["image_auroc"]
    both = [c.figures["psnr"] for c in result.classes]
    assert result.mean["psnr"] == pytest.approx(np.mean([x for x in both if x is not None]))


def test_no_mask_at_all_leaves_the_pixel_figures_empty(catalogue: Catalogue) -> None:
    bolt = catalogue.classes[0]
    bare = replace(bolt, test=tuple(replace(record, mask=None) for record in bolt.test))
    result = evaluate(Catalogue((bare,)), resamples=9)
    assert result.classes[0].figures["image_auroc"] is not None
    assert set(result.classes[0].replicates) == {"image_auroc"}
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"):
        assert result.mean[name] is None
        assert result.mean_over[name] == 0


def test_resamples_are_of_whole_images(catalogue: Catalogue) -> None:
    bolt, nut = evaluate(catalogue, resamples=200, batch_size=4).classes
    assert set(bolt.replicates) == {"image_auroc", "pixel_auroc", "pixel_ap"}
    assert nut.replicates == {}
    records = [i.record for i in bolt.images]
    known = [record.kind != "rust" for record in records]
    strata = np.array([2 * r.anomalous + k for r, k in zip(records, known, strict=True)])
    maps = np.stack([pixels_of(r.path) for r in records])[known]
    masks = np.stack(
        [
            np.asarray(Image.open(r.mask)) > 0 if r.mask else np.zeros((SIZE, SIZE), bool)
            for r in records
            if r.kind != "rust"
        ]
    )
    for index, weights in enumerate(resample("bolt", strata, 200)[:5]):
        each = np.repeat(weights[known], SIZE**2)
        truth = masks.ravel(), maps.ravel()
        auroc = roc_auc_score(*truth, sample_weight=each)
        ap = average_precision_score(*truth, sample_weight=each)
        assert bolt.replicates["pixel_auroc"][index] == pytest.approx(auroc, abs=1e-4)
        assert bolt.replicates["pixel_ap"][index] == pytest.approx(ap, abs=1e-3)
    # Four good and five defective images: the area counts pairs of them, ties by halves.
    halves = bolt.replicates["image_auroc"] * 40
    assert np.allclose(halves, np.rint(halves), atol=1e-4)
    # Another model is asked about the same resamples.
    again = evaluate(catalogue, resamples=200).classes[0].replicates["pixel_ap"]
    assert np.array_equal(again, bolt.replicates["pixel_ap"])


def test_thresholds_and_verdicts(catalogue: Catalogue) -> None:
    result = evaluate(catalogue, calibration=CALIBRATION)
    assert {i.threshold for i in result.classes[0].images} == {0.4}
    assert {i.threshold for i in result.classes[1].images} == {0.6}
    assert result.pixel_threshold == 0.3
    image = result.classes[0].images[0]
    assert replace(image, score=0.4002).anomalous_verdict
    assert not replace(image, score=0.40005).anomalous_verdict
    unknown = replace(catalogue.classes[0], name="cog")
    result = evaluate(Catalogue((unknown,)), calibration=CALIBRATION)
    assert {i.threshold for i in result.classes[0].images} == {0.6}
    without = evaluate(catalogue).classes[0].images[0]
    assert np.isnan(without.threshold)
    assert not without.anomalous_verdict


class RedNetwork(nn.Module):
    """Calls a pixel anomalous by its red value; the scale keeps a parameter in the network."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Output:
        red = images[:, :1] * self.scale
        logits = torch.cat([torch.zeros_like(red), red], dim=1)
        return Output(images * 0.9, red * 0.5, logits)


def test_a_trained_model_is_evaluated_with_its_own_settings(catalogue: Catalogue) -> None:
    roi = np.zeros((SIZE, SIZE), bool)
    roi[:, :16] = True
    model = TrainedModel(
        settings=SETTINGS,
        classes=("bolt", "nut"),
        network=RedNetwork(),
        calibration=CALIBRATION,
        recogniser=Recogniser.fit(np.eye(2), [0, 1], ["bolt", "nut"]),
        rois={"bolt": roi},
        training={"seed": 3},
    )
    result = evaluate_model(model, catalogue, batch_size=4, gallery_per_class=3)
    # A softmax keeps the order of the red values, and so every pixel ranking.
    expected = evaluate(catalogue, rois={"bolt": roi})
    for name in ("pixel_auroc", "pixel_ap", "aupro"):
        assert result.mean[name] == pytest.approx(expected.mean[name], abs=1e-9)
    assert {i.threshold for i in result.classes[1].images} == {0.6}
    assert result.pixel_threshold == 0.3
    assert [item.role for item in result.gallery] == ["false alarm", "close", "hit", "false alarm"]
    bolt = result.gallery[0]
    image = np.asarray(Image.open(bolt.record.path)) / 255
    np.testing.assert_allclose(bolt.jnd, image[..., 0] / 2, atol=1e-6)
    probability = np.where(roi, 1 / (1 + np.exp(-image[..., 0])), 0)
    np.testing.assert_allclose(bolt.score_map, probability, atol=1e-6)
    assert result.model["system"] == "omnial"
    assert result.model["training"] == {"seed": 3}
    json.dumps(result.to_metrics(), allow_nan=False)
    # Thresholds of tiles say nothing about scores of whole images.
    model.calibration = CALIBRATION.model_copy(update={"tile": 32})
    tiled = evaluate_model(model, catalogue, batch_size=4, gallery_per_class=3)
    assert tiled.mean == result.mean
    verdicts = tiled.to_metrics()["verdicts"]
    count = sum(len(product.images) for product in tiled.classes)
    assert verdicts == {"good": 0, "false_alarms": 0, "defective": 0, "found": 0, "without": count}
    assert "tiles" in tiled.model["notes"][-1]
    json.dumps(tiled.to_metrics(), allow_nan=False)


def test_the_region_of_interest_limits_pixels_and_padding_does_not_count(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    bolt = catalogue.classes[0]
    roi = np.zeros((SIZE, SIZE), np.uint8)
    roi[:, :16] = 255
    save(tmp_path / "roi.png", roi)
    by_file = evaluate(Catalogue((replace(bolt, roi=tmp_path / "roi.png"),))).classes[0]
    by_model = evaluate(Catalogue((bolt,)), rois={"bolt": roi > 0}).classes[0]
    assert by_file.figures == by_model.figures
    known = [r for r in bolt.test if r.kind != "rust"]
    flat = np.concatenate([pixels_of(r.path)[:, :16].ravel() for r in known])
    truth = np.concatenate(
        [
            (np.asarray(Image.open(r.mask)) > 0)[:, :16].ravel()
            if r.mask
            else np.zeros(SIZE * 16, bool)
            for r in known
        ]
    )
    assert by_file.figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    wide = Settings(data=DataSettings(height=SIZE, width=2 * SIZE, geometry="pad"))
    padded = Evaluation(Brightness(), wide).run(catalogue).classes[0].figures
    whole = evaluate(catalogue).classes[0].figures
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "psnr"):
        assert padded[name] == pytest.approx(whole[name], abs=1e-6)
    with pytest.raises(UserError, match="region of interest"):
        evaluate(Catalogue((replace(bolt, roi=tmp_path / "roi.png"),)), rois={"bolt": roi == 0})


def test_the_gallery_shows_the_extremes(catalogue: Catalogue) -> None:
    result = evaluate(catalogue, gallery_per_class=6, calibration=CALIBRATION, batch_size=2)
    # The threshold lies between the dents and the rust, above all good images.
    bolt = sorted(result.classes[0].images, key=lambda i: i.score)
    bad = [i.record for i in bolt if i.record.anomalous]
    good = [i.record for i in bolt if not i.record.anomalous]
    items = [item for item in result.gallery if item.record.class_name == "bolt"]
    assert [(item.role, item.record) for item in items] == [
        ("missed", bad[0]),
        ("missed", bad[1]),
        ("close", good[-1]),
        ("close", good[-2]),
        ("hit", bad[-1]),
        ("hit", bad[-2]),
    ]
    assert {item.role for item in result.gallery if item.record.class_name == "nut"} == {"close"}
    for item in result.gallery:
        image = np.asarray(Image.open(item.record.path))
        np.testing.assert_array_equal(item.image, image)
        expected = np.rint(np.clip(image / 255 - 0.1, 0, 1) * 255)
        assert np.abs(item.reconstruction - expected).max() <= 1
        np.testing.assert_allclose(item.score_map, image[..., 0] / 255, atol=1e-6)
        np.testing.assert_allclose(item.jnd, image[..., 1] / 510, atol=1e-6)
        assert (item.mask is None) == (item.record.mask is None)


@pytest.mark.parametrize(
    ("limit", "roles"),
    [
        (0.0, {"good": {"false alarm"}, "bad": {"close", "hit"}}),
        (1.0, {"good": {"close"}, "bad": {"missed"}}),
        (float("nan"), {"good": {"close"}, "bad": {"close", "hit"}}),
    ],
)
def test_a_role_follows_the_verdict(
    catalogue: Catalogue, limit: float, roles: dict[str, set[str]]
) -> None:
    images = [replace(i, threshold=limit) for i in evaluate(catalogue).classes[0].images]
    found: dict[str, set[str]] = {"good": set(), "bad": set()}
    for image, role in choose(images, 6):
        found["bad" if image.record.anomalous else "good"].add(role)
    assert found == roles


@pytest.mark.parametrize("most", [0, 1, 2, 100])
def test_no_image_is_twice_in_the_gallery(catalogue: Catalogue, most: int) -> None:
    gallery = evaluate(catalogue, gallery_per_class=most).gallery
    paths = [item.record.path for item in gallery]
    assert len(paths) == len(set(paths))
    assert sum(item.record.class_name == "bolt" for item in gallery) == min(most, 9)


class Embedded(Brightness):
    """Gives the image itself as features, in cells of 8 pixels."""

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        cells = images.reshape(len(images), 3, 4, 8, 4, 8).mean((3, 5))
        return super().run(images, valid)._replace(embedding=cells)


def test_the_gallery_shows_what_each_witness_says(catalogue: Catalogue) -> None:
    images = np.stack(
        [np.asarray(Image.open(r.path), np.float32) / 255 for r in catalogue.classes[0].train]
    ).transpose(0, 3, 1, 2)
    valid = np.ones((len(images), SIZE, SIZE), bool)
    found = Embedded().run(images, valid)
    assert found.embedding is not None
    held_out = list(map(Normal, found.embedding, found.score_maps, valid))
    fitted = Normality.fit(found.embedding, held_out)
    roi = np.zeros((SIZE, SIZE), bool)
    roi[:, :16] = True
    result = Evaluation(
        *(Embedded(), SETTINGS), gallery_per_class=6, normality={"bolt": fitted}, rois={"bolt": roi}
    ).run(catalogue)
    # A product without a normality of its own has the evidence of the one that there is.
    assert {item.record.class_name for item in result.gallery} == {"bolt", "nut"}
    for item in result.gallery:
        assert item.witnesses is not None
        network, normality = item.witnesses.network, item.witnesses.normality
        assert normality.max() > 0
        evidence = network.astype(np.float64) + normality
        np.testing.assert_allclose(item.score_map, evidence / (evidence + 6), rtol=1e-5)
        if item.record.class_name == "bolt":
            assert not network[~roi].any()
            assert not normality[~roi].any()
    assert all(item.witnesses is None for item in evaluate(catalogue, gallery_per_class=2).gallery)


def test_suspicious_training_images_are_shown_where_they_are(catalogue: Catalogue) -> None:
    def found(listed: object) -> list[tuple[str, str, bool]]:
        result = evaluate(catalogue, description={"training": {"suspicious": listed}})
        return [(s.class_name, s.file, s.image is not None) for s in result.suspicious]

    listed = [
        {"class": "bolt", "file": "1.png", "score": 0.7},
        {"class": "bolt", "file": "9.png", "score": 0.7},
        {"class": "cog", "file": "1.png", "score": 0.7},
    ]
    assert found(listed) == [
        ("bolt", "1.png", True),
        ("bolt", "9.png", False),
        ("cog", "1.png", False),
    ]
    image = (
        evaluate(catalogue, description={"training": {"suspicious": listed}}).suspicious[0].image
    )
    expected = np.asarray(Image.open(catalogue.classes[0].train[1].path))
    np.testing.assert_array_equal(image, expected)
    # A model folder may come from anywhere.
    for other in (
        None,
        3,
        "x",
        {"class": "bolt"},
        [3],
        [{"class": 1}],
        [{**listed[0], "score": "1"}],
    ):
        assert found(other) == []
    catalogue.classes[0].train[1].path.write_bytes(b"no image")
    assert found(listed[:1]) == [("bolt", "1.png", False)]


def test_a_network_that_does_not_reconstruct(catalogue: Catalogue) -> None:
    result = Evaluation(Plain(), SETTINGS, gallery_per_class=6).run(catalogue)
    assert result.mean["psnr"] is None
    assert result.gallery == ()


def test_batches_are_full_and_of_one_class_and_progress_is_reported(
    catalogue: Catalogue,
) -> None:
    backend, progress = Brightness(), []
    Evaluation(
        backend,
        SETTINGS,
        batch_size=4,
        progress=lambda _, done, total: progress.append((done, total)),
    ).run(catalogue)
    assert backend.seen == [4, 4, 1, 4]
    assert progress == [(4, 13), (8, 13), (9, 13), (13, 13)]


def test_metrics_files(catalogue: Catalogue, tmp_path: Path) -> None:
    bad = replace(catalogue, bad_files=(BadFile(Path("x.png"), "truncated"),))
    result = evaluate(bad, description={"system": "brightness"})
    out = tmp_path / "new" / "report"
    write_metrics(result, out)
    write_metrics(result, out)
    assert {path.name for path in out.iterdir()} == {"metrics.json", "metrics.csv"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"classes", "mean", "mean_over", "verdicts", "data", "model"}
    counts = {"good": 0, "false_alarms": 0, "defective": 0, "found": 0, "without": 13}
    assert metrics["verdicts"] == counts
    assert set(metrics["classes"]["bolt"]) == {*FIGURES, "kinds"}
    assert metrics["classes"]["bolt"]["kinds"]["dent"] == dict(result.classes[0].kinds["dent"])
    assert metrics["classes"]["nut"]["image_auroc"] is None
    assert metrics["mean"] == dict(result.mean)
    assert metrics["mean_over"]["image_auroc"] == 1
    assert metrics["model"] == {"system": "brightness"}
    assert metrics["data"]["classes"]["bolt"]["images"] == {"dent": 3, "good": 4, "rust": 2}
    assert metrics["data"]["bad_files"] == [{"path": "x.png", "reason": "truncated"}]
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["kind"]) for row in rows] == [
        ("bolt", "all"),
        ("bolt", "dent"),
        ("bolt", "rust"),
        ("nut", "all"),
        ("mean", "all"),
    ]
    assert float(rows[0]["image_auroc"]) == result.classes[0].figures["image_auroc"]
    assert rows[3]["image_auroc"] == ""


def test_names_that_are_no_text_stand_in_the_metrics(catalogue: Catalogue, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    bad = replace(catalogue, bad_files=(BadFile(Path(name), "truncated"),))
    write_metrics(evaluate(bad, description={"system": "caf\xe9"}), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert metrics["data"]["bad_files"][0]["path"] == name
    assert metrics["model"]["system"] == "caf\xe9"


def test_a_folder_that_cannot_be_written(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_metrics(evaluate(catalogue), tmp_path / "file" / "report")


def test_a_file_that_vanished_is_named(catalogue: Catalogue) -> None:
    lost = catalogue.classes[0].test[5].path
    lost.unlink()
    with pytest.raises(UserError, match=lost.name):
        evaluate(catalogue, batch_size=2)


def test_scores_that_are_not_finite_name_the_image(catalogue: Catalogue) -> None:
    class Broken(Brightness):
        def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
            found = super().run(images, valid)
            if self.seen == [9, 4]:  # the second class
                found.score_maps[2, 3, 3] = np.nan
            return found

    with pytest.raises(RunError, match=r"nut.*2\.png"):
        Evaluation(Broken(), SETTINGS).run(catalogue)


def test_without_test_images_there_is_nothing_to_evaluate(catalogue: Catalogue) -> None:
    empty = Catalogue(tuple(replace(product, test=()) for product in catalogue.classes))
    with pytest.raises(UserError, match="no test image"):
        evaluate(empty)
    one = Catalogue((replace(catalogue.classes[0], test=()), catalogue.classes[1]))
    assert set(evaluate(one).classes[0].figures.values()) == {None}
