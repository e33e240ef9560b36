"""PGD against closed forms and Foolbox, and what it must leave alone."""

import copy
import math
from collections.abc import Callable
from typing import Any

import foolbox
import pytest
import torch
import torch.nn.functional as F
from foolbox.attacks import L2PGD, LinfPGD
from torch import Tensor, nn

from omnial.attacks.pgd import Attacked, Ball, Norm, Objective, Schedule, attack, undisturbed
from omnial.config.load import load_settings
from omnial.filters import ssim_map
from omnial.models.system import build_model
from omnial.sample_random import SampleRandom
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


def from_our_start(
    kind: type[LinfPGD | L2PGD], start: Tensor, steps: int, epsilon: float, *attacked: Any
) -> Tensor:
    """The last iterate of Foolbox's attack after so many steps."""

    class FromOurStart(kind):  # type: ignore[misc,valid-type]
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return x0 + type(x0)(start)

    found: Tensor = FromOurStart(rel_stepsize=0.25, steps=steps).run(*attacked, epsilon=epsilon)
    return found


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_best_of_what_foolbox_finds_from_the_same_start(norm: Norm, targeted: bool) -> None:
    network, labels = classifier(), torch.arange(8) % 5
    clean, epsilon = images(8, low=0.2, high=0.8), 8 / 255 if norm == "linf" else 0.3
    ball, kind = Ball(epsilon, norm), LinfPGD if norm == "linf" else L2PGD
    sign = -1.0 if targeted else 1.0
    wanted = foolbox.criteria.Misclassification(labels)
    if targeted:
        wanted = foolbox.criteria.TargetedMisclassification(labels)
    model = foolbox.PyTorchModel(network, bounds=(0, 1))
    start = ball.start(numbers(8), "attack start 0", SHAPE)

    def objective(x: Tensor) -> Tensor:
        return sign * F.cross_entropy(network(x), labels, reduction="none")

    theirs = [
        from_our_start(kind, start, steps, epsilon, model, clean, wanted) for steps in range(11)
    ]
    ours = attack(objective, clean, ball, Schedule(steps=10, alpha=0.25), numbers(8)).images

    best = torch.stack([objective(x) for x in theirs]).amax(0)
    torch.testing.assert_close(objective(ours), best, atol=1e-5, rtol=0)
    apart = torch.stack([(ours - x).abs().amax((1, 2, 3)) for x in theirs])
    assert float(apart.amin(0).max()) <= 1e-5


def test_each_sample_keeps_its_best_iterate_of_all_starts() -> None:
    """Steps are too long for the hill, so that the last of them is rarely its top."""
    clean, ball = torch.full((64, 1, 1, 1), 0.5), Ball(0.1)
    seen: list[Tensor] = []

    def hill(x: Tensor) -> Tensor:
        values = -(x.flatten(1).sum(1) - 0.51).abs()
        seen.append(values.detach())
        return values

    found = attack(hill, clean, ball, Schedule(alpha=0.7, restarts=3), numbers(64))

    assert len(seen) == 3 * 6  # an iterate is looked at once, the last ones too
    best = torch.stack(seen).amax(0)
    assert torch.equal(hill(found.images), best)
    assert torch.equal(found.values.amax(0), best)
    assert bool((found.values[-1] < best).any())


@pytest.mark.parametrize("restarts", [1, 8])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_is_never_kept(wrong: float, restarts: int) -> None:
    """The first step of each start below the middle leads to where there is no number."""
    clean, ball = torch.full((64, 1, 1, 1), 0.5), Ball(0.1)

    def objective(x: Tensor) -> Tensor:
        y = x.flatten(1).sum(1) - 0.5
        return torch.where(y < -0.06, wrong, torch.where(y < 0, -y, 2 * y))

    found = attack(objective, clean, ball, Schedule(alpha=0.3, restarts=restarts), numbers(64))

    kept = objective(found.images)
    assert bool(kept.isfinite().all()) or restarts == 1
    assert float((found.images - clean).abs().max()) <= 0.1 + 1e-6
    if restarts > 1:
        assert float(kept.min()) > 0.19


def test_without_a_finite_objective_the_start_is_kept() -> None:
    clean = images(3)
    found = attack(lambda x: x.sum((1, 2, 3)) * math.nan, clean, Ball(0.1), Schedule(), numbers(3))
    start = attack(lambda x: x.sum((1, 2, 3)), clean, Ball(0.1), Schedule(steps=0), numbers(3))
    assert torch.equal(found.images, start.images)
    assert bool(found.values.isnan().all())


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


def alone_and_together(
    objective: Callable[[Tensor, slice], Tensor], clean: Tensor, schedule: Schedule
) -> tuple[Attacked, Attacked]:
    """The same samples attacked one by one, and as one batch."""
    whole = attack(lambda x: objective(x, slice(None)), clean, BALL, schedule, numbers(6))
    parts = [
        attack(
            lambda x, row=row: objective(x, slice(row, row + 1)),  # type: ignore[misc]
            *(clean[row : row + 1], BALL, schedule, numbers(1, first=row)),
        )
        for row in range(6)
    ]
    alone = Attacked(
        torch.cat([part.images for part in parts]),
        torch.cat([part.values for part in parts], 1),
        torch.cat([part.gradient for part in parts]),
    )
    return alone, whole


BALL = Ball(8 / 255)


def test_the_batch_does_not_matter(inspection: tuple[nn.Module, Tensor, Objective]) -> None:
    """Where rounding is too small to turn a sign, the batch changes nothing at all."""
    network, clean, _ = inspection
    exact = copy.deepcopy(network).double()
    wanted = clean.flip(1).double()
    labels = (clean.mean(1) > 0.5).long()

    def objective(x: Tensor, rows: slice) -> Tensor:
        output = exact(x.double())
        loss = F.cross_entropy(output.logits, labels[rows], reduction="none").mean((1, 2))
        likeness = ssim_map(output.reconstruction, wanted[rows]).mean((1, 2, 3))
        return loss + (output.reconstruction - wanted[rows]).square().mean((1, 2, 3)) - likeness

    with undisturbed(exact):
        alone, whole = alone_and_together(objective, clean, Schedule(restarts=2))

    torch.testing.assert_close(alone.values, whole.values, atol=0, rtol=1e-6)
    torch.testing.assert_close(alone.images, whole.images, atol=1e-6, rtol=0)


def test_in_float32_the_batch_changes_rounding_and_not_the_attacks_strength(
    inspection: tuple[nn.Module, Tensor, Objective],
) -> None:
    """Before the first step there is nothing but rounding; after it a sign near zero may differ."""
    network, clean, objective = inspection
    with undisturbed(network):
        alone, whole = alone_and_together(objective, clean, Schedule())  # type: ignore[arg-type]

    torch.testing.assert_close(alone.values[0], whole.values[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone.gradient, whole.gradient, atol=0, rtol=0.05)
    rises = [float((run.values.amax(0) - run.values[0]).mean()) for run in (alone, whole)]
    assert rises[0] == pytest.approx(rises[1], rel=0.25)


def test_rounding_that_turns_signs_leaves_the_attacks_strength(
    inspection: tuple[nn.Module, Tensor, Objective],
) -> None:
    """Gradients a thousand times less exact than float32's: as on no machine, and as on any."""
    network, clean, objective = inspection
    generator = torch.Generator().manual_seed(3)

    class Inexact(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            (gradient,) = gradients
            noise = torch.randn(gradient.shape, generator=generator)
            return gradient + 0.01 * gradient.abs().mean((1, 2, 3), keepdim=True) * noise

    with undisturbed(network):
        exact = attack(objective, clean, BALL, Schedule(), numbers(6))
        rough = attack(
            lambda x: objective(Inexact.apply(x)),  # type: ignore[no-untyped-call]
            *(clean, BALL, Schedule(), numbers(6)),
        )

    assert torch.equal(exact.values[0], rough.values[0])
    assert not torch.equal(exact.images, rough.images)
    rises = [float((run.values.amax(0) - run.values[0]).mean()) for run in (exact, rough)]
    assert rises[0] == pytest.approx(rises[1], rel=0.25)


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
