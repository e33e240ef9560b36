"""Figures on a set against independent oracles; objectives; published averages; perception."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from omnial.attacks.pgd import Ball, Schedule, attack, undisturbed
from omnial.config.settings import ImageScore
from omnial.demo.production_line import CLASS_NAMES
from omnial.models.prediction import Prediction
from omnial.models.scoring import image_score, score_map
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.objectives import reversed_mask, score_objective
from omnial.robustness.transfer import evaluate_on_set, measure_perception, published
from omnial.sample_random import SampleRandom
from omnial.synthesis.jnd import jnd_levels, luma

CLASSES = CLASS_NAMES[:2]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")


class Red:
    """Scores a pixel by its red value and rebuilds the image as it is."""

    name = "red"

    def run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        maps = images[:, 0].copy()
        scores = maps.mean(axis=(1, 2)).astype(np.float64)
        return Prediction(maps, scores, images)

    def facts(self) -> dict[str, str]:
        return {}


def test_figures_against_scikit(made: Path) -> None:
    data = AdversarialSet(made)
    found = evaluate_on_set(lambda _: Red(), data, 2)

    assert list(found) == ["0", "8t", "8", "4", "2", "1"]
    for level in ("0", "8t", "1"):
        for name in CLASSES:
            batch = next(data.batches(name, 10))
            images = batch.images(level)
            truth, scores = batch.mask.ravel(), images[:, 0].ravel()
            normal = batch.normal.astype(np.float64) / 65535
            figures = found[level].classes[name]
            assert figures["pixel_ap"] == pytest.approx(average_precision_score(truth, scores))
            assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores))
            ratios = [
                min(100.0, peak_signal_noise_ratio(target, image.astype(np.float64), data_range=1))
                for target, image in zip(normal, images, strict=True)
                if not np.array_equal(target, image)
            ]
            if level != "0":
                assert figures["psnr"] == pytest.approx(np.mean(ratios), rel=1e-6)
        mean = np.mean([found[level].classes[name]["pixel_ap"] for name in CLASSES])  # type: ignore[misc]
        assert found[level].mean["pixel_ap"] == pytest.approx(mean)


def test_perception_against_its_definition(made: Path) -> None:
    data = AdversarialSet(made)
    found = measure_perception(data, 2)

    batch = next(data.batches(CLASSES[0], 10))
    clean, attacked = (torch.from_numpy(batch.images(level)) for level in ("0", "4"))
    jnd = jnd_levels(clean)
    within = ((255 * (luma(attacked) - luma(clean))).abs() <= jnd).float().mean()
    own = found["4"][CLASSES[0]]
    assert own["within_jnd"] == pytest.approx(float(within), abs=1e-6)
    errors = ((attacked - clean).double() ** 2).mean((1, 2, 3))
    assert own["psnr"] == pytest.approx(float((-10 * errors.log10()).mean()), abs=1e-4)
    means = [found[level]["mean"] for level in ("8", "4", "2", "1")]
    assert [m["psnr"] for m in means] == sorted(m["psnr"] for m in means)
    assert [m["within_jnd"] for m in means] == sorted(m["within_jnd"] for m in means)
    assert means[-1]["within_jnd"] == 1.0  # no JND is below two grey levels
    assert all(m["channels_within_jnd"] <= m["within_jnd"] + 1e-9 for m in means)


class Pixelwise(nn.Module):
    """Logits that are a linear function of each pixel, in the shape of a network's output."""

    class _Output:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, images: Tensor) -> "Pixelwise._Output":
        margin = self.gain * (images.mean(1) - 0.5)
        return Pixelwise._Output(torch.stack([-margin / 2, margin / 2], 1))


def test_the_reversed_mask_pulls_each_pixel_to_the_other_side() -> None:
    network, mask = Pixelwise(20.0), torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 1
    images = torch.full((2, 3, 8, 8), 0.5)
    objective = reversed_mask(network, mask, 2.0)

    with undisturbed(network):
        result = attack(
            objective, images, Ball(0.1), Schedule(), SampleRandom(0, 0, torch.arange(2))
        )

    assert float(result.images[:, :, :4].max()) == pytest.approx(0.4)
    assert float(result.images[:, :, 4:].min()) == pytest.approx(0.6)


@pytest.mark.parametrize("rule", ["top_mean", "window_maximum"])
@pytest.mark.parametrize("gain", [1.0, 200.0])
def test_the_score_moves_as_it_is_told_even_where_the_network_is_sure(
    gain: float, rule: ImageScore
) -> None:
    """At a gain of 200, the probabilities are 0 and 1 in float32, and so flat."""
    network = Pixelwise(gain)
    images = torch.full((2, 3, 32, 32), 0.3)
    images[:, :, 10:20, 10:20] = 0.75
    valid, upward = torch.ones(2, 32, 32, dtype=torch.bool), torch.tensor([True, False])
    valid[:, :2] = False

    def score(x: Tensor) -> Tensor:
        with torch.no_grad():
            return image_score(score_map(network(x).logits), valid, rule)

    with undisturbed(network):
        result = attack(
            score_objective(network, valid, upward, rule),
            *(images, Ball(0.3), Schedule(steps=20)),
            SampleRandom(0, 0, torch.arange(2)),
        )

    before, after = score(images), score(result.images)
    assert float(after[0]) >= float(before[0])
    assert float(after[1]) < 0.6 * float(before[1]) if gain == 200 else after[1] < before[1]
    assert bool((result.values[-1] > result.values[0]).all())
    assert float(result.gradient.min()) > 0


def test_published_averages() -> None:
    rows = {(r.metric, r.level, r.system): r for r in published()}

    assert len(rows) == 4 * 5 * 3
    averages = [rows["pixel_ap", level, "omnial"].printed_average for level in "8421"]
    assert averages == [63.0, 82.2, 95.6, 98.1]
    odd = rows["pixel_ap", "8t", "draem"]
    assert (odd.printed_average, odd.mean_of_rows) == (22.3, 23.2)
    assert all(
        abs(r.printed_average - r.mean_of_rows) < 0.06 or r is odd
        for r in rows.values()
        if r.metric != "ssim"
    )
