from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omnial.data.records import BadFile, ImageRecord
from omnial.evaluation.result import (
    FIGURES,
    ClassResult,
    Curve,
    EvaluationResult,
    GalleryItem,
    ImageResult,
    Role,
    choose,
    no_figures,
)
from omnial.metrics.ranking import mean_figures

SIZE = 48


def _record(name: str, kind: str, index: int) -> ImageRecord:
    path = Path("data") / name / "test" / kind / f"{index:03d}.png"
    return ImageRecord(path, name, "test", kind)


def _item(image: ImageResult, role: Role, with_mask: bool) -> GalleryItem:
    rng = np.random.default_rng(5)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    if image.record.anomalous:
        mask[10:20, 12:30] = True
    return GalleryItem(
        record=image.record,
        role=role,
        score=image.score,
        threshold=image.threshold,
        image=rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
        reconstruction=rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
        jnd=rng.random((SIZE, SIZE), dtype=np.float32),
        score_map=np.where(mask, 0.9, 0.1).astype(np.float32),
        mask=mask if with_mask else None,
    )


def _product(
    name: str, *, good: int, defective: int, pixels: bool, threshold: float
) -> ClassResult:
    images = [
        ImageResult(_record(name, "good", i), 0.1 + 0.15 * i, threshold) for i in range(good)
    ] + [
        ImageResult(_record(name, "scratch", i), 0.35 + 0.15 * i, threshold)
        for i in range(defective)
    ]
    line = Curve(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.8, 1.0]))
    figures, curves = no_figures(), {}
    if good and defective:
        figures |= {"image_auroc": 0.875, "image_ap": 0.9012, "image_f1_max": 0.8888}
        curves |= {"image_roc": line, "image_pr": line}
    if pixels:
        figures |= {"pixel_auroc": 0.987, "pixel_ap": 0.4321, "pixel_f1_max": 0.5, "aupro": 0.75}
        curves |= {"pixel_roc": line, "pixel_pr": line}
    kinds = {"scratch": figures} if defective else {}
    if good:
        figures = figures | {"psnr": 31.26, "ssim": 0.9444}
    return ClassResult(name, figures, kinds, tuple(images), curves)


@pytest.fixture(scope="session")
def make_result() -> Callable[..., EvaluationResult]:
    """Build a result; every class has four good and four defective images by default."""

    def make(
        names: tuple[str, ...] = ("cap", "label"),
        *,
        good: int = 4,
        defective: int = 4,
        pixels: bool = True,
        threshold: float = 0.5,
        level: float = 0.4,
        bad_files: tuple[BadFile, ...] = (),
        model: dict[str, object] | None = None,
    ) -> EvaluationResult:
        classes = tuple(
            _product(name, good=good, defective=defective, pixels=pixels, threshold=threshold)
            for name in names
        )
        gallery = []
        for product in classes:
            chosen = choose(product.images, 3)
            gallery += [_item(image, role, pixels) for image, role in chosen]
        mean, mean_over = mean_figures([product.figures for product in classes], FIGURES)
        assert set(mean) == set(FIGURES)
        return EvaluationResult(
            classes=classes,
            mean=mean,
            mean_over=mean_over,
            data={"height": SIZE, "width": SIZE},
            model={"system": "omnial", "size": "tiny"} if model is None else model,
            gallery=tuple(gallery),
            bad_files=bad_files,
            pixel_threshold=level,
            seconds=12.0,
        )

    return make
