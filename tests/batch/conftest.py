"""An untrained model and a small archive: verdicts mean nothing here, equality does."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omnial.inference.inspection import Inspection
from omnial.inference.inspector import Inspector
from omnial.inference.predictor import Row
from omnial.model_folder.weights_file import save_model
from omnial.models.thresholds import calibrate
from omnial.reporting.prediction_report import predict
from tests.small_model import untrained

pytest.importorskip("pyarrow", reason="Parquet needs it: pip install '.[parquet]'")

CLASSES = ("bolt", "nut")


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """As a worker on Ray has: rows are equal bit for bit only at equal numbers of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def model(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = untrained(CLASSES)
    # As it begins, every image has the same score, and equal results would say nothing.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    # Thresholds amid the scores: some images are good, some anomalous.
    found = Inspector.of(model).each(sorted(archive.glob("*/*.png")))
    scores = [one.score for one in found if isinstance(one, Inspection)]
    amid = {name: np.full(4, np.median(scores)) for name in CLASSES}
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(folder, replace(model, calibration=calibrate(amid, 0.5, 0.4)))
    return folder


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 files below two folders, two of them no images."""
    folder = tmp_path_factory.mktemp("archive")
    random = np.random.default_rng(1)
    for index in range(21):
        path = folder / f"line{index % 2}" / f"{index:03}.png"
        path.parent.mkdir(exist_ok=True)
        size = (30 + index, 90 - index)
        pixels = random.integers(0, 40 + 10 * index, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    (folder / "line0/007.png").write_bytes(b"not an image")
    (folder / "line1/cut.png").write_bytes((folder / "line1/001.png").read_bytes()[:90])
    return folder


@pytest.fixture(scope="package")
def expected(model: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """What the engine without parts makes of the archive, its maps left out."""
    out = tmp_path_factory.mktemp("jsonl")
    predict(Inspector(model, batch_size=4), [archive], out=out, pictures=False)
    text = (out / "predictions.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["anomalous"] for row in rows} == {True, False, None}
    assert any(row["outlines"] for row in rows)
    return rows
