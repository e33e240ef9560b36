"""PGD beside closed forms, beside Foolbox, and what it must leave alone."""

import math

import foolbox
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnial.attacks.ball import Ball, Norm
from omnial.attacks.pgd import Objective, Schedule, attack, undisturbed
from omnial.config.load import load_settings
from omnial.models.system import build_model
from omnial.synthesis.random import SampleRandom
from omnial.synthesis.recipe import synthesize
from omnial.training.objective import losses

SHAPE = (3, 8, 8)


def numbers(count: int, first: int = 0) -> SampleRandom:
    return SampleRandom(5, 7, torch.arange(first, first + count))


def images(count: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(count, *(shape or SHAPE), generator=generator)


def linear(weight: Tensor) -> Objective:
    return lambda x: (x * weight).flatten(1).sum(1)


def test_linf_on_a_linear_function_reaches_the_corner() -> None:
    """The most that eps gains is eps times the sum of absolute weights, away from the range."""
    weight = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(2))
    clean, epsilon = images(4, low=0.3, high=0.7), 8 / 255

    result = attack(linear(weight), clean, Ball(epsilon), Schedule(), numbers(4))

    torch.testing.assert_close(result.images, clean + epsilon * weight.sign())
    gained = linear(weight)(result.images) - linear(weight)(clean)
    torch.testing.assert_close(
        gained, torch.full((4,), epsilon * float(weight.abs().sum())), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(result.gradient, torch.full((4,), float(weight.abs().mean())))
    assert bool((result.values.diff(dim=0) >= 0).all())


def test_linf_stops_at_the_range_of_images() -> None:
    clean = torch.tensor([0.0, 0.01, 0.99, 1.0]).view(1, 1, 2, 2).repeat(1, 3, 1, 1)

    up = attack(lambda x: x.flatten(1).sum(1), clean, Ball(0.05), Schedule(), numbers(1))
    down = attack(lambda x: -x.flatten(1).sum(1), clean, Ball(0.05), Schedule(), numbers(1))

    torch.testing.assert_close(up.images[0, 0].flatten(), torch.tensor([0.05, 0.06, 1.0, 1.0]))
    torch.testing.assert_close(down.images[0, 0].flatten(), torch.tensor([0.0, 0.0, 0.94, 0.95]))


def test_l2_on_a_linear_function_goes_along_the_gradient() -> None:
    weight = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(3))
    clean = images(3, low=0.4, high=0.6)

    result = attack(linear(weight), clean, Ball(0.5, "l2"), Schedule(40, alpha=1.0), numbers(3))

    wanted = clean + 0.5 * weight / weight.norm()
    torch.testing.assert_close(result.images, wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_start_is_in_the_ball_and_fills_it(norm: Norm) -> None:
    ball = Ball(0.1, norm)
    start = ball.start(numbers(400), "start", (1, 1, 2))
    sizes = start.abs().amax((1, 2, 3)) if norm == "linf" else start.flatten(1).norm(dim=1)

    assert float(sizes.max()) <= 0.1 + 1e-7
    # In two dimensions half of the ball's area lies within 1/sqrt(2) of its radius.
    assert abs(float((sizes < 0.1 / math.sqrt(2)).float().mean()) - 0.5) < 0.08
    assert float(start.mean().abs()) < 0.01


def test_the_start_is_a_function_of_the_sample() -> None:
    clean = images(6)
    start = Schedule(steps=0)
    whole = attack(lambda x: x.sum((1, 2, 3)), clean, Ball(0.1), start, numbers(6))
    part = attack(lambda x: x.sum((1, 2, 3)), clean[2:4], Ball(0.1), start, numbers(2, first=2))

    assert torch.equal(whole.images[2:4], part.images)
    assert not torch.equal(whole.images[0] - clean[0], whole.images[1] - clean[1])
    assert float(whole.gradient.abs().max()) == 0


def test_restarts_keep_each_samples_best() -> None:
    """Two hills: which one a start climbs depends on its side."""
    clean = torch.full((64, 1, 1, 1), 0.5)

    def hills(x: Tensor) -> Tensor:
        y = x.flatten(1).sum(1) - 0.5
        return torch.where(y < 0, -y, 2 * y)

    ball = Ball(0.1)
    once = attack(hills, clean, ball, Schedule(), numbers(64)).values[-1]
    often = attack(hills, clean, ball, Schedule(restarts=12), numbers(64)).values[-1]

    assert {round(value, 3) for value in once.tolist()} == {0.1, 0.2}
    assert float(often.min()) > 0.199
    assert bool((often >= once).all())


def test_momentum_carries_over_a_dip() -> None:
    """The slope turns down for a step's length; accumulated ascent walks over it."""
    clean = torch.full((1, 1, 1, 1), 0.2)

    def dip(x: Tensor) -> Tensor:
        y = x.flatten(1).sum(1)
        return torch.where(y < 0.3, y, torch.where(y < 0.34, 0.6 - y, 2 * y - 0.42))

    ball = Ball(0.3)
    plain = Schedule(steps=30, alpha=0.1, random_start=False)
    carried = Schedule(steps=30, alpha=0.1, momentum=0.9, random_start=False)

    assert float(attack(dip, clean, ball, plain, numbers(1)).images) < 0.35
    assert float(attack(dip, clean, ball, carried, numbers(1)).images) == pytest.approx(0.5)


def classifier() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 5)
        ).eval()


@pytest.mark.parametrize("targeted", [False, True])
def test_foolbox_finds_the_same_from_the_same_start(targeted: bool) -> None:
    network, clean, labels = classifier(), images(8), torch.arange(8) % 5
    epsilon, schedule = 8 / 255, Schedule(steps=10, alpha=0.25)
    start = Ball(epsilon).start(numbers(8), "attack start 0", SHAPE)

    class FromOurStart(foolbox.attacks.LinfPGD):
        def get_random_start(self, x0: object, epsilon: float) -> object:
            return x0 + type(x0)(start)

    criterion = foolbox.criteria.Misclassification(labels)
    if targeted:
        criterion = foolbox.criteria.TargetedMisclassification(labels)
    theirs = FromOurStart(rel_stepsize=0.25, steps=10).run(
        foolbox.PyTorchModel(network, bounds=(0, 1)), clean, criterion, epsilon=epsilon
    )
    sign = -1.0 if targeted else 1.0
    ours = attack(
        lambda x: sign * F.cross_entropy(network(x), labels, reduction="none"),
        *(clean, Ball(epsilon), schedule, numbers(8)),
    )

    torch.testing.assert_close(ours.images, theirs, atol=1e-6, rtol=0)


def test_foolbox_finds_the_same_in_l2() -> None:
    network, clean, labels = classifier(), images(8, low=0.2, high=0.8), torch.arange(8) % 5
    start = Ball(0.3, "l2").start(numbers(8), "attack start 0", SHAPE)

    class FromOurStart(foolbox.attacks.L2PGD):
        def get_random_start(self, x0: object, epsilon: float) -> object:
            return x0 + type(x0)(start)

    theirs = FromOurStart(rel_stepsize=0.25, steps=10).run(
        foolbox.PyTorchModel(network, bounds=(0, 1)),
        *(clean, foolbox.criteria.Misclassification(labels)),
        epsilon=0.3,
    )
    ours = attack(
        lambda x: F.cross_entropy(network(x), labels, reduction="none"),
        *(clean, Ball(0.3, "l2"), Schedule(steps=10, alpha=0.25), numbers(8)),
    )

    torch.testing.assert_close(ours.images, theirs, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def inspection() -> tuple[nn.Module, Tensor, Objective]:
    """A network of the project, six samples, and its training objective for some of them."""
    settings = load_settings(size="tiny", overrides=["objective.ssim_stride=1"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        network = build_model(settings.model)
    coarse = images(6, 3, 8, 8)
    clean = F.interpolate(coarse, size=(64, 64), mode="bilinear")
    batch = synthesize(clean, clean.flip(0), settings.synthesis, numbers(6))
    for _ in range(3):
        network(batch.anomalous)  # gives batch norm statistics to work with

    def objective(x: Tensor, rows: slice = slice(None)) -> Tensor:
        part = type(batch)(*(field[rows] for field in batch))
        return losses(network(x), part, settings.objective).total(settings.objective)

    return network, batch.anomalous, objective


def test_the_batch_does_not_matter(inspection: tuple[nn.Module, Tensor, Objective]) -> None:
    network, clean, objective = inspection
    ball, schedule = Ball(8 / 255), Schedule()
    with undisturbed(network):
        whole = attack(objective, clean, ball, schedule, numbers(6))
        parts = [
            attack(
                lambda x, row=row: objective(x, slice(row, row + 1)),  # type: ignore[misc,call-arg]
                *(clean[row : row + 1], ball, schedule, numbers(1, first=row)),
            )
            for row in range(6)
        ]
    alone = torch.cat([part.images for part in parts])
    values = torch.cat([part.values for part in parts], dim=1)

    torch.testing.assert_close(values, whole.values, atol=1e-4, rtol=1e-4)
    assert float((alone - whole.images).abs().lt(1e-6).float().mean()) >= 0.999


def test_the_network_notices_nothing(inspection: tuple[nn.Module, Tensor, Objective]) -> None:
    network, clean, objective = inspection
    network.train()
    network.get_submodule("localization").eval()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    with undisturbed(network):
        result = attack(objective, clean, Ball(4 / 255), Schedule(steps=2), numbers(6))

    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(bool((p.grad == 1).all()) and p.requires_grad for p in network.parameters())  # type: ignore[union-attr]
    assert network.training
    assert not network.get_submodule("localization").training
    assert not result.images.requires_grad
    assert float(result.gradient.min()) > 0
    assert bool((result.values[-1] > result.values[0]).all())


def test_only_float32_is_attacked() -> None:
    with pytest.raises(TypeError, match="float32"):
        attack(lambda x: x.sum((1, 2, 3)), images(1).half(), Ball(0.1), Schedule(), numbers(1))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ball(-1.0),
        lambda: Ball(math.nan),
        lambda: Ball(0.1, "l1"),  # type: ignore[arg-type]
        lambda: Schedule(steps=-1),
        lambda: Schedule(restarts=0),
        lambda: Schedule(alpha=0.0),
    ],
)
def test_impossible_attacks_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"ball|norm|attack|alpha"):
        wrong()  # type: ignore[operator]
