"""Two independent writings of one recipe draw from the same distributions, and mistakes show.

The seeds are fixed, so that the tests are deterministic: `ALIKE` is far above the p-values that a
different recipe gives, and `APART` far below those that the same one gives.
"""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from benchmarks.reference_synthesis import draw_sample, jnd_map, luma, perlin, ssim
from benchmarks.synthesis import smooth_images
from omnial.config.settings import SynthesisSettings
from omnial.filters import ssim_map
from omnial.sample_random import SampleRandom
from omnial.synthesis.jnd import jnd_levels
from omnial.synthesis.recipe import synthesize
from omnial.synthesis.shapes import perlin_noise

COUNT, EDGE = 400, 64
ALIKE, APART = 0.01, 1e-5

Statistics = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Pale ones, so that the limit on the textures' colours has work to do."""
    colourful = smooth_images(COUNT, EDGE, 0)
    return torch.lerp(colourful.mean(1, keepdim=True), colourful, 0.3)


@pytest.fixture(scope="module")
def ours(images: torch.Tensor) -> Statistics:
    batch = synthesize(
        images, images.roll(1, 0), SynthesisSettings(), SampleRandom(0, 0, torch.arange(COUNT))
    )
    return statistics(
        *(part.numpy() for part in (images, batch.anomalous)),
        *(part[:, 0].numpy() for part in (batch.mask, batch.panel, batch.level)),
    )


def reference(images: torch.Tensor, count: int = COUNT, **changed: Any) -> Statistics:
    settings = SynthesisSettings.model_validate(changed)
    normal, textures = (part[:count].numpy() for part in (images, images.roll(1, 0)))
    rng = np.random.default_rng(0)
    samples = [
        draw_sample(image, texture, settings, rng)
        for image, texture in zip(normal, textures, strict=True)
    ]
    anomalous, mask, _, panel, level = (np.stack(part) for part in zip(*samples, strict=True))
    return statistics(normal, anomalous, mask, panel, level)


def statistics(
    normal: NDArray[Any],
    anomalous: NDArray[Any],
    mask: NDArray[Any],
    panel: NDArray[Any],
    level: NDArray[Any],
) -> Statistics:
    """One number a sample; those about the change inside only where there is a change."""
    shape = (level > 0).mean((1, 2))
    label = (mask > 0).mean((1, 2))
    change = np.abs(anomalous - normal).mean(1)
    chroma = np.abs(anomalous - anomalous.mean(1, keepdims=True)).mean(1)
    seen = label > 0.01
    rough = np.abs(np.diff(anomalous - normal, axis=2, append=0.0)).mean(1)
    return {
        "mask area": label,
        "shape area of those that have one": shape[shape > 0],
        "label within shape": label[shape > 0] / shape[shape > 0],
        "change inside the mask": (change * mask)[seen].sum((1, 2)) / (EDGE**2 * label[seen]),
        "colour inside the mask": (chroma * mask)[seen].sum((1, 2)) / (EDGE**2 * label[seen]),
        "panel area": panel.mean((1, 2)),
        **{f"change at level {n}": means(change, level == n) for n in (1, 2, 3)},
        "roughness at level 1": means(rough, level == 1),
        "drawn": (shape > 0).astype(np.float64),
        "anomalous": (label > 0).astype(np.float64),
    }


def means(values: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean over each sample's pixels, of the samples that have some."""
    return np.array([v[w].mean() for v, w in zip(values, where, strict=True) if w.any()])


def p_values(first: Statistics, second: Statistics) -> dict[str, float]:
    """Kolmogorov-Smirnov for numbers, Fisher's exact test for shares of the samples."""
    found = {}
    for name, values in first.items():
        others = second[name]
        if set(np.unique(values)) <= {0.0, 1.0}:
            table = [[np.sum(v == 1), np.sum(v == 0)] for v in (values, others)]
            found[name] = float(stats.fisher_exact(table).pvalue)
        else:
            found[name] = float(stats.ks_2samp(values, others).pvalue)
    return found


def test_both_draw_from_the_same_distributions(images: torch.Tensor, ours: Statistics) -> None:
    found = p_values(ours, reference(images))
    assert min(found.values()) > ALIKE, found


@pytest.mark.parametrize(
    ("changed", "statistic"),
    [
        ({"perlin_threshold": 0.4}, "mask area"),
        ({"perlin_octaves": (0, 3)}, "label within shape"),
        ({"panel_span": (0.4, 0.7)}, "panel area"),
        ({"panels": False}, "panel area"),
        ({"anomalous_share": 0.6}, "drawn"),
        ({"level_probability": 0.9}, "mask area"),
        ({"ssim_difference": 0.0}, "label within shape"),
        ({"label_correction": False}, "label within shape"),
        ({"jnd_gain": 0.9}, "label within shape"),
        ({"match_colour": False}, "colour inside the mask"),
        ({"texture_zoom": (8.0, 9.0)}, "roughness at level 1"),
        (
            {
                "levels": [
                    {"beta": (0.6, 1.0), "blur": 15},
                    {"beta": (0.3, 0.6), "blur": 15},
                    {"beta": (0.1, 0.3), "blur": 15},
                ]
            },
            "change at level 1",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_another_recipe_is_told_apart(
    images: torch.Tensor, ours: Statistics, changed: dict[str, Any], statistic: str
) -> None:
    # A quarter of the images tells most of these apart already.
    for count in (COUNT // 4, COUNT):
        found = p_values(ours, reference(images, count, **changed))
        if found[statistic] < APART:
            return
    raise AssertionError(found)


def test_noise_is_the_same_function_of_the_gradients() -> None:
    class Fixed(np.random.Generator):
        """Gives the angles that the batched noise gets."""

        def uniform(self, *_: Any, **__: Any) -> NDArray[np.float64]:  # type: ignore[override]
            return angles[0, :3, :5].numpy().astype(np.float64)

    angles = 6.0 * torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0))
    batched = perlin_noise(angles, torch.tensor([2.0]), torch.tensor([4.0]), (48, 64))
    single = perlin(Fixed(np.random.PCG64(0)), (2, 4), (48, 64))
    np.testing.assert_allclose(batched[0].numpy(), single, atol=1e-5)


def test_jnd_and_ssim_are_the_same_functions(images: torch.Tensor) -> None:
    first, second = images[:2].numpy()
    np.testing.assert_allclose(jnd_levels(images[:1])[0, 0].numpy(), jnd_map(first), atol=2e-3)
    maps = ssim_map(torch.tensor(luma(first))[None, None], torch.tensor(luma(second))[None, None])
    np.testing.assert_allclose(maps[0, 0].numpy(), ssim(luma(first), luma(second)), atol=1e-3)
