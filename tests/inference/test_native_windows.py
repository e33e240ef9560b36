"""Images of other proportions than the network's, from the training to the verdict."""

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from omnial.attacks.pgd import Schedule
from omnial.calibration.calibrate_folder import calibrate_folder
from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.cache import InputCache
from omnial.data.cover import Cover
from omnial.data.dataset import load_dataset
from omnial.data.decode import as_unit, network_input
from omnial.data.layouts import discover
from omnial.evaluation.evaluate import evaluate_model
from omnial.evaluation.sample import in_windows, load_sample
from omnial.export import export_model as export_module
from omnial.export.export_model import export_model
from omnial.export.gate import Reference, compare, from_data
from omnial.inference.inspector import Inspector
from omnial.inference.verify import verify
from omnial.model_folder.weights_file import load_model
from omnial.models.scoring import image_scores
from omnial.models.torch_backend import predict_batch
from omnial.models.trained_model import TrainedModel
from omnial.robustness.clean_samples import draw_clean
from omnial.robustness.white_box import WhiteBoxPlan, attack_verdicts
from omnial.synthesis.recipe import preview
from omnial.training.checkpoint import read_checkpoint
from omnial.training.fit import train
from omnial.training.sampler import Batch, BatchSampler
from tests.inference.test_predictor import red_model, write_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")

HEIGHT, WIDTH = 40, 96
"""Of the long product, 2.4:1."""


def rail(
    seed: int, *, defect: bool = False, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = 120 + 40 * np.sin(np.arange(size[1]) / 3)[None, :, None]
    pixels = pixels + random.normal(0, 6, (*size, 1)) + np.zeros(3)
    if defect:
        pixels[10:22, size[1] - 16 : size[1] - 6] = 250
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`rail` is long, `plate` about square; the ends of both get defects."""
    root = tmp_path_factory.mktemp("windows") / "data"
    for name, size in (("rail", (HEIGHT, WIDTH)), ("plate", (40, 44))):
        for folder in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
            (root / name / folder).mkdir(parents=True)
        for seed in range(8):
            # One of the long ones is twice as large: the frame is the same.
            own = (2 * size[0], 2 * size[1]) if seed == 3 else size
            rail(seed, size=own).save(root / name / f"train/good/{seed}.png")
        for seed in range(2):
            rail(20 + seed, size=size).save(root / name / f"test/good/{seed}.png")
            rail(30 + seed, size=size, defect=True).save(root / name / f"test/spot/{seed}.png")
            mask = np.zeros(size, np.uint8)
            mask[10:22, size[1] - 16 : size[1] - 6] = 255
            Image.fromarray(mask).save(root / name / f"ground_truth/spot/{seed}_mask.png")
    region = np.full((10, 24), 255, np.uint8)
    region[:, :6] = 0
    Image.fromarray(region).save(root / "rail/roi.png")
    return root


def settings(*overrides: str) -> Settings:
    small = ["data.height=32", "data.width=32", "model.stem=4", "training.batch_size=4"]
    small += ["model.reconstruction.widths=[4,8,8]", "model.localization.widths=[4,8,8]"]
    small += ["training.precision=fp32", "data.cache_gigabytes=0", "training.steps=4"]
    return load_settings(size="tiny", overrides=[*small, *overrides])


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("windows-model") / "model"
    train(settings(), [data], out, progress=False)
    return out


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (WIDTH, HEIGHT), (300, 64)])
@pytest.mark.parametrize("geometry", ["auto", "window"])
def test_a_defect_at_the_far_end_is_found_where_it_is(
    tmp_path: Path, size: tuple[int, int], geometry: str
) -> None:
    far = (slice(size[0] - 14, size[0] - 6), slice(size[1] - 14, size[1] - 6))
    path = write_image(tmp_path / "long.png", height=size[0], width=size[1], defect=far)
    found = Inspector.of(red_model(geometry)).inspect(path)
    assert found.class_name == "moss"
    assert found.score_map.shape == size
    inner = (slice(far[0].start + 2, far[0].stop - 2), slice(far[1].start + 2, far[1].stop - 2))
    assert found.score_map[inner].min() > 0.9
    assert found.score_map[:-16, :-16].max() < 0.1
    (outline,) = found.outlines
    expected = [[far[1].start - 0.5, far[0].start - 0.5], [far[1].stop - 0.5, far[0].stop - 0.5]]
    corners = [outline.polygon.min(axis=0), outline.polygon.max(axis=0)]
    np.testing.assert_allclose(corners, expected, atol=1.5)
    good = write_image(tmp_path / "good.png", height=size[0], width=size[1])
    assert not Inspector.of(red_model(geometry)).inspect(good).anomalous


def test_images_of_many_sizes_keep_their_order_and_their_verdicts(tmp_path: Path) -> None:
    sizes = [(64, 64), (64, 200), (64, 200), (300, 64), (64, 64), (70, 64), (90, 64)]
    paths = []
    for index, (height, width) in enumerate(sizes):
        defect = (slice(8, 24), slice(8, 24)) if index % 2 else None
        path = tmp_path / f"{index}.png"
        paths.append(write_image(path, height=height, width=width, defect=defect))
    inspector = Inspector.of(red_model("auto"), batch_size=4)
    together = list(inspector.inspect(paths))
    assert [found.path for found in together] == paths
    assert [found.anomalous for found in together] == [bool(i % 2) for i in range(len(paths))]
    for path, found in zip(paths, together, strict=True):
        alone = inspector.inspect(path)
        np.testing.assert_allclose(found.score_map, alone.score_map, atol=1e-6)
        assert found.score == pytest.approx(alone.score, abs=1e-6)


def test_a_region_of_interest_covers_the_whole_image(tmp_path: Path) -> None:
    roi = np.ones((64, 64), bool)
    roi[:, 32:] = False
    inspector = Inspector.of(red_model("auto", rois={"moss": roi}))
    for left, anomalous in ((20, True), (140, False)):
        defect = (slice(20, 40), slice(left, left + 20))
        path = write_image(tmp_path / f"{left}.png", height=64, width=200, defect=defect)
        for name in ("moss", None):
            found = inspector.inspect(path, name)
            assert found.anomalous == anomalous
            assert found.score_map[:, 104:].max() == 0
        assert inspector.inspect(path, "moss", tile=32).anomalous == anomalous


def test_the_choice_is_logged_and_stored(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "omnial"):
        train(settings("training.steps=1"), [data], tmp_path / "auto", progress=False)
    assert "geometry auto: in windows rail" in caplog.text
    config = json.loads((tmp_path / "auto/config.json").read_text())
    assert config["training"]["images_in_windows"] == {"plate": 0, "rail": 7}
    assert config["settings"]["data"]["geometry"] == "auto"


def test_the_region_is_stored_at_the_networks_size(trained: Path) -> None:
    (roi,) = load_model(trained, "cpu").rois.values()
    expected = np.ones((32, 32), bool)
    expected[:, :8] = False
    np.testing.assert_array_equal(roi, expected)


def test_a_resumed_run_ends_in_the_same_bits(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, often = tmp_path / "killed", settings("training.checkpoint_minutes=1e-9")
    batch = BatchSampler.batch

    def dying(self: BatchSampler, step: int) -> Batch:
        if step == 2:
            raise RuntimeError("killed")
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSampler, "batch", dying)
        with pytest.raises(RuntimeError, match="killed"):
            train(often, [data], out, progress=False)
    assert read_checkpoint(out / "checkpoints" / "last.ckpt")["step"] == 2
    train(often, [data], out, resume=True, progress=False)
    first, again = load_model(trained, "cpu").network, load_model(out, "cpu").network
    for one, two in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def naive(model_dir: Path, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """A long image's map by loops: every window's map, weighted by the distance to its edge."""
    model = load_model(model_dir, "cpu")
    frame, _ = network_input(path, model.settings.data)
    assert frame.shape == (3, 32, 77)
    top, weight = np.zeros((32, 77)), np.zeros((32, 77))
    valid = np.ones((32, 77), bool)
    valid[:, : round(77 / 4)] = False
    ramp = np.minimum(np.minimum(np.arange(32) + 0.5, 31.5 - np.arange(32)) / 8, 1)
    for left in (0, 22, 45):
        window = torch.from_numpy(as_unit(frame[None, :, :, left : left + 32].copy()))
        maps = predict_batch(model.network, window).score_maps[0]
        top[:, left : left + 32] += np.outer(ramp, ramp) * maps
        weight[:, left : left + 32] += np.outer(ramp, ramp)
    whole = np.where(valid, top / weight, 0).astype(np.float32)
    return image_scores(whole[None], valid[None], "top_mean"), whole


def test_figures_are_those_of_a_naive_loop(data: Path, trained: Path) -> None:
    model = replace(load_model(trained, "cpu"), normality={})  # the network's own maps
    result = evaluate_model(model, discover([data], need="test"), batch_size=3)
    by_name = {found.name: found for found in result.classes}
    rails = by_name["rail"]
    found = [naive(trained, image.record.path) for image in rails.images]
    for image, (score, _) in zip(rails.images, found, strict=True):
        assert image.score == pytest.approx(float(score[0]), abs=1e-5)
    labels = [image.record.anomalous for image in rails.images]
    expected = roc_auc_score(labels, [float(score[0]) for score, _ in found])
    assert rails.figures["image_auroc"] == pytest.approx(expected, abs=1e-6)
    product = discover([data / "rail"], need="test").classes[0]
    truth, values = [], []
    for image, (_, score_map) in zip(rails.images, found, strict=True):
        sample = load_sample(image.record, product, model.settings.data)
        mask = np.zeros((32, 77), bool) if sample.mask is None else sample.mask
        truth.append(mask[sample.valid])
        values.append(score_map[sample.valid])
    expected = average_precision_score(np.concatenate(truth), np.concatenate(values))
    assert rails.figures["pixel_ap"] == pytest.approx(expected, abs=1e-4)
    assert rails.figures["psnr"] is not None
    assert {item.score_map.shape for item in result.gallery} == {(32, 77), (32, 32)}


@pytest.fixture(scope="module")
def _one_graph_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Both formats are made of one graph, which takes ten seconds to write."""
    graph, write = tmp_path_factory.mktemp("graph") / "graph.onnx", export_module.write_onnx

    def copy(model: TrainedModel, path: Path, *, reconstruction: bool = False) -> None:
        if not graph.exists():
            write(model, graph, reconstruction=reconstruction)
        shutil.copyfile(graph, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "write_onnx", copy)
        yield


@pytest.mark.usefixtures("_one_graph_for_all")
@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_exports_see_the_same_windows(
    data: Path, trained: Path, tmp_path: Path, format_: str
) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip(format_)
    out = tmp_path / "export"
    made = export_model(
        trained,
        out,
        format_=format_,
        precision="fp32",
        data=[data],
        with_pictures=True,  # type: ignore[arg-type]
    )
    assert made.gate.passed, made.gate.reasons
    assert verify(out).passed
    paths = sorted(data.glob("*/test/*/*.png"))
    for first, second in zip(
        Inspector(trained, device="cpu").inspect(paths), Inspector(out).inspect(paths), strict=True
    ):
        np.testing.assert_allclose(first.score_map, second.score_map, atol=1e-4)
        assert first.score == pytest.approx(second.score, abs=1e-4)
        assert first.class_name == second.class_name


def test_an_export_is_compared_on_whole_images_and_calibrated_on_windows(
    data: Path, trained: Path
) -> None:
    model = load_model(trained, "cpu")
    images = from_data([data], model, 8)
    assert {image.shape for image in images.calibration} == {(3, 32, 32)}
    assert {sample.image.shape for sample in images.compared} == {(3, 32, 77), (3, 32, 32)}
    engine = Inspector.of(model).backend
    reference = Reference.of("data", images.compared, engine, model.settings)
    gate = compare(engine, reference, "fp32", model.calibration)
    assert gate.passed
    assert gate.differences.images == len(images.compared)
    assert gate.pixel_ap == gate.pixel_ap_reference


def test_thresholds_come_from_whole_images(data: Path, trained: Path, tmp_path: Path) -> None:
    before = load_model(trained, "cpu").calibration
    calibrate_folder(trained, [data], out=tmp_path / "again", device="cpu")
    again = load_model(tmp_path / "again", "cpu").calibration
    for name in ("plate", "rail"):
        np.testing.assert_allclose(again.scores[name], before.scores[name], atol=1e-5)


def test_attacks_take_a_window_of_each_image(data: Path, trained: Path) -> None:
    model = load_model(trained, "cpu")
    catalogue = discover([data], need="any")
    product = next(p for p in catalogue.classes if p.name == "rail")
    (defective, *_) = [record for record in product.test if record.anomalous]
    windows = in_windows(load_sample(defective, product, model.settings.data), model.settings.data)
    assert [one.image.shape for one in windows] == [(3, 32, 32)] * 3
    assert [bool(one.mask is not None and one.mask.any()) for one in windows] == [
        False,
        False,
        True,
    ]
    plan = WhiteBoxPlan(samples=2, schedule=Schedule(1), batch_size=2)
    assert attack_verdicts(model, catalogue, plan).images == 4
    store = load_dataset(
        product.train, catalogue, model.settings.data, InputCache(None, model.settings.data)
    )
    drawn = draw_clean(store, ["rail"] * 8, product, range(4), model.settings.synthesis, 0.5, 0)
    again = draw_clean(store, ["rail"] * 8, product, range(2, 4), model.settings.synthesis, 0.5, 0)
    assert drawn.normal.shape == (4, 3, 32, 32)
    np.testing.assert_array_equal(drawn.anomalous[2:], again.anomalous)
    batch, _ = preview(model.settings, catalogue, 4, 0)
    assert batch.normal.shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("size", "frame", "windows"),
    [((10, 100), (32, 320), 7), ((100, 10), (256, 64), 11), ((16, 32), (32, 64), 1)],
)
def test_a_network_of_other_proportions_is_covered_along_either_axis(
    size: tuple[int, int], frame: tuple[int, int], windows: int
) -> None:
    data = Settings.model_validate({"data": {"height": 32, "width": 64}}).data
    pixels, _ = network_input(np.zeros((*size, 3), np.uint8), data)
    assert pixels.shape == (3, *frame)
    assert len(list(Cover.over(frame, (32, 64)).parts())) == windows
