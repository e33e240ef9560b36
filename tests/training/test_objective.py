import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omnial.config.load import load_settings
from omnial.config.presets import RECIPES, SIZES, SYSTEMS
from omnial.config.settings import ObjectiveSettings, Settings
from omnial.filters import ssim_map
from omnial.models.system import Output, build_model
from omnial.synthesis.recipe import SynthesizedBatch
from omnial.training.objective import focal_loss, losses, squared_error, ssim_loss


@given(st.floats(-8, 8), st.floats(-8, 8), st.booleans(), st.floats(0, 5))
def test_focal_loss_in_closed_form(normal: float, odd: float, label: bool, gamma: float) -> None:
    logits = torch.tensor([normal, odd]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    mask = torch.full((1, 1, 4, 4), float(label))
    p = 1.0 / (1.0 + math.exp((normal - odd) if label else (odd - normal)))
    expected = -((1.0 - p) ** gamma) * math.log(p)
    assert float(focal_loss(logits, mask, gamma)) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_focal_loss_with_gamma_zero_is_cross_entropy() -> None:
    logits, mask = torch.randn(3, 2, 8, 8), (torch.rand(3, 1, 8, 8) > 0.5).float()
    expected = torch.nn.functional.cross_entropy(logits, mask[:, 0].long(), reduction="none")
    torch.testing.assert_close(focal_loss(logits, mask, 0.0), expected.mean((1, 2)))


@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("margin", [-200.0, -17.0, 0.0, 3.0, 17.0, 40.0, 200.0])
def test_the_slope_of_the_focal_loss_is_exact_where_a_probability_rounds_to_one(
    gamma: float, margin: float
) -> None:
    """From 17 on, 1 - p_t is 0 in float32, and a power below 1 of it has an infinite slope."""
    logits = torch.tensor([0.0, margin]).view(1, 2, 1, 1).requires_grad_()
    loss = focal_loss(logits, torch.ones(1, 1, 1, 1), gamma)
    (slopes,) = torch.autograd.grad(loss, logits)

    # p = sigmoid(margin), q = 1 - p: d/dmargin -q^g log p = g q^g p log p - q^(g + 1)
    log_p = -math.log1p(math.exp(-margin))
    p, q = math.exp(log_p), 1.0 / (1.0 + math.exp(margin))
    assert float(loss.detach()) == pytest.approx(-(q**gamma) * log_p, rel=1e-5)
    slope = gamma * q**gamma * p * log_p - q ** (gamma + 1.0)
    wanted = torch.tensor([-slope, slope]).view(1, 2, 1, 1)
    torch.testing.assert_close(slopes, wanted, rtol=1e-4, atol=1e-40)


def networks() -> dict[str, Settings]:
    """Every system at every size and every recipe; of equal networks the first."""
    named = {
        f"{system} {size}": load_settings(system=system, size=size)
        for system in SYSTEMS
        for size in SIZES
    }
    named |= {name: load_settings(config_file=name) for name in RECIPES}
    first = {settings.model: name for name, settings in reversed(named.items())}
    return {name: named[name] for name in first.values()}


@pytest.mark.parametrize("settings", [pytest.param(s, id=name) for name, s in networks().items()])
def test_the_loss_gives_every_parameter_a_gradient(settings: Settings) -> None:
    """One without would stop a training on several devices. Only shapes are computed."""
    size = (settings.data.height, settings.data.width)
    with torch.device("meta"):
        network = build_model(settings.model)
        image, map_ = torch.empty(2, 3, *size), torch.empty(2, 1, *size)
    batch = SynthesizedBatch(image, image, map_, map_, map_, map_)
    terms = losses(network(image), batch, settings.objective)
    terms.total(settings.objective).mean().backward()
    assert [key for key, value in network.named_parameters() if value.grad is None] == []


def test_normal_pixels_count_too() -> None:
    confident_and_wrong = torch.tensor([-4.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    assert float(focal_loss(confident_and_wrong, torch.zeros(1, 1, 8, 8), 2.0)) > 1.0


def test_focal_loss_survives_extreme_half_precision_logits() -> None:
    logits = torch.tensor([60.0, -60.0], dtype=torch.bfloat16).view(1, 2, 1, 1)
    loss = focal_loss(logits, torch.ones(1, 1, 1, 1), 2.0)
    assert float(loss) == pytest.approx(120.0)


def test_ssim_loss_is_one_minus_the_mean_not_half_of_it() -> None:
    black, white = torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32)
    torch.testing.assert_close(ssim_loss(black, black, 1), torch.zeros(2))
    torch.testing.assert_close(ssim_loss(black, white, 1), torch.ones(2), atol=1e-3, rtol=0)


def test_terms_are_per_sample_and_weighted() -> None:
    generator = torch.Generator().manual_seed(0)
    image, jnd = torch.rand(2, 3, 32, 32, generator=generator), torch.rand(2, 1, 32, 32)
    mask = (torch.rand(2, 1, 32, 32) > 0.8).float()
    batch = SynthesizedBatch(image, image, mask, jnd, mask, mask)
    output = Output(image + 0.1, jnd - 0.2, torch.zeros(2, 2, 32, 32))
    terms = losses(output, batch, ObjectiveSettings())
    torch.testing.assert_close(terms.image_mse, torch.full((2,), 0.01))
    torch.testing.assert_close(terms.jnd_mse, torch.full((2,), 0.04))
    torch.testing.assert_close(terms.focal, torch.full((2,), 0.25 * math.log(2)))
    torch.testing.assert_close(terms.image_ssim, ssim_loss(image + 0.1, image, 1))
    weights = ObjectiveSettings(image_mse=2, image_ssim=0, jnd_mse=3, jnd_ssim=0, focal=0)
    torch.testing.assert_close(terms.total(weights), torch.full((2,), 0.14))


def test_squared_error_is_the_mean_over_a_sample() -> None:
    first = torch.zeros(2, 3, 4, 4)
    second = torch.stack((torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), 1.0)))
    torch.testing.assert_close(
        squared_error(first, second, torch.ones(2, 1, 1, 1)), torch.tensor([0.25, 1.0])
    )


def test_defective_pixels_weigh_as_asked_in_all_terms_of_the_reconstruction() -> None:
    torch.manual_seed(0)
    normal, jnd = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    mask = (torch.rand(2, 1, 32, 32) > 0.9).float()
    batch = SynthesizedBatch(normal, normal, mask, jnd, mask, mask.to(torch.uint8))
    image, visibility, logits = (torch.rand(2, channels, 32, 32) for channels in (3, 1, 2))
    output = Output(image, visibility, logits)
    even = losses(output, batch, ObjectiveSettings())
    found = losses(output, batch, ObjectiveSettings(defect_weight=5.0))
    weight = 1.0 + 4.0 * mask
    for name, result, target in (
        ("image", image, normal),
        ("jnd", visibility, jnd),
    ):
        by_hand = (weight * (result - target) ** 2).mean((1, 2, 3))
        torch.testing.assert_close(getattr(found, f"{name}_mse"), by_hand)
        by_hand = (weight * (1.0 - ssim_map(result, target))).mean((1, 2, 3))
        torch.testing.assert_close(getattr(found, f"{name}_ssim"), by_hand)
        assert bool((getattr(found, f"{name}_mse") > getattr(even, f"{name}_mse")).all())
    torch.testing.assert_close(found.focal, even.focal)
