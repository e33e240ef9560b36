"""One very small model, its images, and its exports, made once for all tests of the session."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from omnial.config.settings import (
    DataSettings,
    LocalizationSettings,
    ModelSettings,
    ReconstructionSettings,
    Settings,
)
from omnial.export import export_model as export_module
from omnial.export.build import write_onnx
from omnial.export.export_model import export_model
from omnial.export.normality_graph import write_normality
from omnial.model_folder.export_folder import Format
from omnial.model_folder.weights_file import load_model, save_model
from omnial.models.appearance import appearance
from omnial.models.normality import Normal, Normality
from omnial.models.recogniser import Recogniser
from omnial.models.system import build_model
from omnial.models.thresholds import calibrate
from omnial.models.torch_backend import predict_batch
from omnial.models.trained_model import TrainedModel

CLASSES = ("bolt", "tile")
HEIGHT, WIDTH = 64, 96


def draw(class_name: str, seed: int, *, defect: bool = False) -> NDArray[np.uint8]:
    """An image of a product: bolts are reddish, tiles bluish; a defect is a dark square."""
    random = np.random.default_rng(seed)
    ground = (180, 90, 60) if class_name == "bolt" else (60, 90, 180)
    pixels = np.full((HEIGHT, WIDTH, 3), ground, np.float64) + random.normal(
        0, 12, (HEIGHT, WIDTH, 1)
    )
    if defect:
        pixels[20:36, 30:50] = 10
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def picture() -> Callable[..., NDArray[np.uint8]]:
    """Draws an image of a class: `picture(class_name, seed, defect=...)`."""
    return draw


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training images a class, two good and two defective test images with masks."""
    root = tmp_path_factory.mktemp("export-data")
    for offset, name in enumerate(CLASSES):
        for folder, count, defect in (("train/good", 10, False), ("test/good", 2, False)):
            (root / name / folder).mkdir(parents=True)
            for index in range(count):
                seed = 1000 * offset + index + (500 if folder[1] == "e" else 0)
                image = Image.fromarray(draw(name, seed, defect=defect))
                image.save(root / name / folder / f"{index:03}.png")
        (root / name / "test/hole").mkdir()
        (root / name / "ground_truth/hole").mkdir(parents=True)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[20:36, 30:50] = 255
        for index in range(2):
            image = Image.fromarray(draw(name, 900 + index, defect=True))
            image.save(root / name / f"test/hole/{index:03}.png")
            Image.fromarray(mask).save(root / name / f"ground_truth/hole/{index:03}_mask.png")
    return root


def small_model() -> TrainedModel:
    """Random weights, with instance norm, attention and a stem; one class has a region."""
    settings = Settings(
        data=DataSettings(height=HEIGHT, width=WIDTH),
        model=ModelSettings(
            stem=4,
            reconstruction=ReconstructionSettings(widths=(8, 8, 8)),
            localization=LocalizationSettings(widths=(8, 8, 8)),
            normality="own",
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_model(settings.model).eval()
    _wake_up(network)
    region = np.ones((HEIGHT, WIDTH), bool)
    region[:, :20] = False
    model = TrainedModel(
        settings=settings,
        classes=CLASSES,
        network=network,
        calibration=calibrate({name: np.arange(20) / 40 for name in CLASSES}, 0.5, 0.1),
        recogniser=Recogniser.fit(np.zeros((4, 1)), np.array([0, 0, 1, 1]), CLASSES),
        rois={"tile": region},
        training={},
        normality={},
        trained_files=frozenset(),
    )
    images = np.stack([draw(name, seed) for name in CLASSES for seed in range(8)])
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    found = predict_batch(model.network, batch)
    model.recogniser = Recogniser.fit(appearance(batch.numpy()), np.repeat([0, 1], 8), CLASSES)
    assert found.embedding is not None
    valid = np.ones((16, HEIGHT, WIDTH), bool)
    normals = list(map(Normal, found.embedding, found.score_maps, valid))
    for index, name in enumerate(CLASSES):
        own = slice(8 * index, 8 * index + 6)
        held_out = normals[8 * index + 6 : 8 * index + 8]
        model.normality[name] = Normality.fit(found.embedding[own], held_out)
    return model


def _wake_up(network: nn.Module) -> None:
    """Fresh batch norms damp everything to nearly nothing, in which no error would show."""
    pictures = [draw(name, 40 + seed, defect=seed > 2) for name in CLASSES for seed in range(5)]
    batch = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.5
        network.train()
        for _ in range(8):
            network(batch)
        network.eval()
        network.localization.head.weight.mul_(3)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The small model's graphs, without and with reconstruction: writing one takes seconds."""
    folder = tmp_path_factory.mktemp("graphs")
    written = {}
    for reconstruction in (False, True):
        written[reconstruction] = folder / f"{reconstruction}.onnx"
        write_onnx(small_model(), written[reconstruction], reconstruction=reconstruction)
    return written


@pytest.fixture(scope="session", autouse=True)
def _one_graph_for_all(graphs: dict[bool, Path]) -> Iterator[None]:
    """Every export here is of the same model, so that its graphs need not be written each time.

    The patch outlives this folder: models of other tests are exported as they are.
    """
    own = small_model()
    normality = graphs[False].with_name("normality.onnx")

    def fitted(model: TrainedModel) -> list[bytes]:
        parts = [model.normality[name].arrays() for name in model.classes]
        return [array.tobytes() for arrays in parts for array in arrays.values()]

    def copy(model: TrainedModel, path: Path, *, reconstruction: bool = False) -> None:
        if model.settings == own.settings:
            shutil.copyfile(graphs[reconstruction], path)
        else:
            write_onnx(model, path, reconstruction=reconstruction)

    def copy_normality(model: TrainedModel, path: Path) -> None:
        if model.settings != own.settings or fitted(model) != fitted(own):
            write_normality(model, path)
            return
        if not normality.exists():
            write_normality(model, normality)
        shutil.copyfile(normality, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "write_onnx", copy)
        patch.setattr(export_module, "write_normality", copy_normality)
        yield


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export-model") / "model"
    save_model(folder, small_model())
    return folder


@pytest.fixture(scope="session")
def model(model_dir: Path) -> TrainedModel:
    return load_model(model_dir, "cpu")


@pytest.fixture(scope="session")
def exports(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """An export in float32 for each engine."""
    root = tmp_path_factory.mktemp("exports")
    folders: dict[Format, Path] = {"onnx": root / "onnx", "openvino": root / "openvino"}
    for name, folder in folders.items():
        summary = export_model(
            model_dir, folder, format_=name, precision="fp32", reconstruction=name == "onnx"
        )
        assert summary.gate.passed
    return folders
