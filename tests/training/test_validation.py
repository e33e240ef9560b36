"""Figures of the validation images, with networks whose answers are known."""

import threading
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.dataset import ImageDataset
from omnial.metrics.psnr_ssim import erased, running_figures
from omnial.model_folder.validation_figures import NAMES
from omnial.models.each_core import on_each_core
from omnial.models.system import Output, build_model
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize
from omnial.training.learn_normality import Learnt
from omnial.training.validation import Validated, validate

SIZE = 64
CLASSES = ("bright", "dark")
PER_CLASS = 12


class Images:
    """What validation asks of an `ImageDataset`."""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, indices: Sequence[int], most: int) -> list[list[int]]:
        return [list(indices[start : start + most]) for start in range(0, len(indices), most)]

    def images(self, indices: Sequence[int]) -> Tensor:
        return self._images[list(indices)]

    def regions(self, indices: Sequence[int]) -> Tensor:
        return torch.ones(len(indices), 1, SIZE, SIZE, dtype=torch.bool)


class Knowing(nn.Module):
    """A network that knows the normal images, and finds every change.

    Args:
        images: The normal images, the first half of them of the first class.
        kept: Share of a change that stays in its reconstruction.
        noise: What its reconstruction adds to every value.
        offset: What it adds to the score margins of the first class.
    """

    def __init__(
        self, images: Tensor, kept: float = 0.0, noise: float = 0.0, offset: float = 0.0
    ) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.known, self.kept, self.noise, self.offset = images, kept, noise, offset

    def forward(self, images: Tensor) -> Output:
        distances = (images[:, None] - self.known[None]).abs().median(-1).values.mean((2, 3))
        nearest = distances.argmin(1)
        normal = self.known[nearest]
        first = (nearest < len(self.known) // 2).float()[:, None, None]
        change = (images - normal).abs().amax(1)
        margin = torch.where(change > 0, 2.0 + change, 0.0) + self.offset * first - 4.0
        return Output(
            reconstruction=normal + self.kept * (images - normal) + self.noise,
            jnd=None,
            logits=torch.stack((-margin, margin), 1),
        )


def normal_images() -> Tensor:
    """Bright ones, then dark ones: (2 * PER_CLASS, 3, SIZE, SIZE) in 0.1..0.9."""
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(2 * PER_CLASS, 3, SIZE, SIZE, generator=random)
    level = torch.tensor([0.6, 0.1]).repeat_interleave(PER_CLASS)
    return 0.3 * noise + level[:, None, None, None]


def settings(*overrides: str) -> Settings:
    size = [f"data.height={SIZE}", f"data.width={SIZE}"]
    return load_settings(size="tiny", overrides=[*size, "model.normality=none", *overrides])


def validated(network: nn.Module, images: Tensor, wanted: Settings) -> Validated:
    store = cast(ImageDataset, Images(images))
    labels = [0] * PER_CLASS + [1] * PER_CLASS
    return validate(network, wanted, CLASSES, store, labels, store, labels)


def test_a_sample_without_a_defect_is_not_defective() -> None:
    """Half of the samples get none: whoever sees every change tells all of them apart."""
    images, wanted = normal_images(), settings("synthesis.level_probability=0.2")
    recipe = wanted.synthesis.model_copy(update={"anomalous_share": 1.0})
    random = SampleRandom(0, 2**40, torch.arange(len(images)))
    empty = ~synthesize(images, images.roll(1, 0), recipe, random).mask.flatten(1).any(1)
    assert 3 < int(empty.sum()) < 21
    figures = validated(Knowing(images), images, wanted).figures
    assert figures.mean["image_auroc"] == 1.0


def test_without_any_defect_there_is_no_figure_of_defects() -> None:
    images = normal_images()
    figures = validated(Knowing(images), images, settings("synthesis.level_probability=0")).figures
    # Normal images of noise, which the recogniser rightly calls no product.
    of_defects = {name: figures.mean[name] for name in NAMES if name != "recognised"}
    assert of_defects == {"image_auroc": None, "pixel_ap": None, "psnr": 100.0, "erased": None}


def test_figures_are_those_of_each_class_and_then_the_mean() -> None:
    """A class whose good images score above the other's defective ones is still told apart."""
    images, wanted = normal_images(), settings("synthesis.level_probability=1")
    found = validated(Knowing(images, offset=6.0), images, wanted).figures
    assert tuple(found.mean) == NAMES
    assert set(found.classes) == set(CLASSES)
    assert found.classes["bright"]["image_auroc"] == found.classes["dark"]["image_auroc"] == 1.0
    assert found.mean["image_auroc"] == 1.0
    for name in NAMES:
        values = [row[name] for row in found.classes.values()]
        assert found.mean[name] == pytest.approx(np.mean([v for v in values if v is not None]))


@pytest.mark.parametrize(("kept", "expected"), [(0.0, 1.0), (1.0, 0.0), (0.5, 0.75)])
def test_erased_is_the_share_of_the_squared_distance_that_is_gone(
    kept: float, expected: float
) -> None:
    images, wanted = normal_images(), settings("synthesis.level_probability=1")
    figures = validated(Knowing(images, kept=kept), images, wanted).figures
    assert figures.mean["erased"] == pytest.approx(expected, abs=1e-4)
    assert figures.mean["psnr"] == 100.0


def test_psnr_is_that_of_the_normal_images() -> None:
    images = normal_images()
    figures = validated(Knowing(images, kept=1.0, noise=0.01), images, settings()).figures
    assert figures.classes["dark"]["psnr"] == pytest.approx(40.0, abs=1e-3)


def test_a_reconstruction_beyond_the_range_is_clipped() -> None:
    images = torch.full((2 * PER_CLASS, 3, SIZE, SIZE), 0.0)
    figures = validated(Knowing(images, kept=1.0, noise=-5.0), images, settings()).figures
    assert figures.mean["psnr"] == 100.0


def test_the_running_figures_equal_sums_over_pixels_one_by_one() -> None:
    random = np.random.default_rng(3)
    restored, anomalous, normal = random.uniform(-0.2, 1.2, (3, 4, 3, 8, 10))
    anomalous, normal = anomalous.clip(0, 1), normal.clip(0, 1)
    mask = (random.random((4, 1, 8, 10)) < 0.3).astype(float)
    mask[1] = 0.0
    ratios, left, drawn = [], 0.0, 0.0
    for image in range(4):
        errors = []
        for y in range(8):
            for x in range(10):
                at = (image, slice(None), y, x)
                error = ((restored[at].clip(0, 1) - normal[at]) ** 2).sum()
                if mask[image, 0, y, x]:
                    left += error
                    drawn += ((anomalous[at] - normal[at]) ** 2).sum()
                else:
                    errors.append(error / 3)
        ratios.append(-10 * np.log10(np.mean(errors)))
    found = running_figures(*map(torch.from_numpy, (restored, anomalous, normal, mask)))
    assert [float(value) for value in found] == pytest.approx([np.mean(ratios), left, drawn])
    assert erased(found[1], found[2]) == pytest.approx(1 - left / drawn)


def test_suspicious_images_score_above_every_held_out_one() -> None:
    scores = np.array([0.5, 0.9, 0.7, 0.8, 0.6, np.nan, 0.3, 0.99, 0.2])
    learnt = Learnt({}, scores)
    held_out, labels = np.array([0.4, 0.55, 0.3, 0.1]), np.array([0, 0, 1, 1])
    # The three highest of the first class, one equal to the limit is none; the third class has no
    # held-out image to compare with.
    found = learnt.suspicious([0, 0, 0, 0, 0, 0, 1, 2, 1], held_out, labels)
    assert found == [(1, 0.9), (3, 0.8), (2, 0.7)]
    many = Learnt({}, np.linspace(0.5, 0.9, 24))
    classes = list(range(8)) * 3
    found = many.suspicious(classes, np.full(8, 0.1), np.arange(8))
    assert [index for index, _ in found] == list(range(23, 11, -1))


def test_a_planted_defect_is_suspicious() -> None:
    torch.manual_seed(0)
    images = normal_images()
    train = images.clone()
    train[PER_CLASS + 3, :, 20:36, 20:36] = torch.tensor([0.9, 0.0, 0.0])[:, None, None]
    wanted, labels = settings("model.normality=own"), [0] * PER_CLASS + [1] * PER_CLASS
    network = build_model(wanted.model).eval()
    stores = [cast(ImageDataset, Images(some)) for some in (train, images)]
    found = validate(network, wanted, CLASSES, stores[0], labels, stores[1], labels)
    assert found.suspicious[0][0] == PER_CLASS + 3


def test_several_cores_give_what_one_gives() -> None:
    images, wanted = normal_images(), settings("model.normality=own")
    torch.manual_seed(0)
    network = build_model(wanted.model).eval()
    at: list[int] = []
    network.register_forward_pre_hook(lambda *_: at.append(threading.get_ident()))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(validated(network, images, wanted))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, three = found
    assert len(set(at)) > 1
    assert one.figures == three.figures
    assert one.calibration == three.calibration
    for name, own in one.normality.items():
        for key, array in own.arrays().items():
            np.testing.assert_array_equal(array, three.normality[name].arrays()[key])


def test_a_fault_on_one_core_is_raised_and_the_threads_come_back() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("the third")
        return item

    network, before = nn.Linear(1, 1), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert list(on_each_core(lambda item: 2 * item, range(9), network)) == list(range(0, 18, 2))
        with pytest.raises(ValueError, match="the third"):
            list(on_each_core(work, range(9), network))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
