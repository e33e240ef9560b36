"""Projected gradient descent (Madry et al. 2018), written as ascent on any objective.

With the ball that a perturbation stays in, and the epsilon of the paper's five levels. Adversarial
training has an epsilon of its own, `training.adversarial_epsilon`.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from omnial.sample_random import SampleRandom

Norm = Literal["linf", "l2"]
Objective = Callable[[Tensor], Tensor]
"""What an attack ascends: images (B, 3, H, W) to one value a sample (B,). A sample's value must
depend on this sample alone, so that the batch it stands in matters by rounding alone."""

UNATTACKED: Final = "0"
"""Name of the level without a perturbation."""

_TINY = 1e-12


@dataclass(frozen=True)
class Level:
    """Strength and aim of an attack."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    """As in the paper's tables: the radius in grey levels, `t` for targeted."""
    grey_levels: Annotated[float, Field(gt=0.0, le=127.0)]
    """Largest change of a value, in 1/255."""
    targeted: bool = False
    """Whether the network is to say the reversed mask, instead of anything wrong."""

    @property
    def epsilon(self) -> float:
        """Radius in units of the pixels' range."""
        return self.grey_levels / 255.0


LEVELS: Final = (
    Level("8t", 8.0, targeted=True),
    Level("8", 8.0),
    Level("4", 4.0),
    Level("2", 2.0),
    Level("1", 1.0),
)
"""The levels of the paper, in the order of its tables."""

UNTARGETED: Final = tuple(level for level in LEVELS if not level.targeted)


@dataclass(frozen=True)
class Ball:
    """All images that differ from a clean one by at most `epsilon`, and lie in [0, 1]."""

    epsilon: float
    """Radius, in units of the pixels' range: 8 / 255 is eight grey levels."""
    norm: Norm = "linf"
    """`linf`, the largest change of a value; `l2`, the root of the summed squares of a sample."""

    def __post_init__(self) -> None:
        if not self.epsilon >= 0.0 or not math.isfinite(self.epsilon):
            raise ValueError(f"the radius of a ball is at least 0, not {self.epsilon}")
        if self.norm not in ("linf", "l2"):
            raise ValueError(f"the norm is linf or l2, not {self.norm!r}")

    def start(self, random: SampleRandom, name: str, shape: tuple[int, ...]) -> Tensor:
        """Points drawn uniformly from the ball around zero: (B, *shape) float32.

        Another `name` of the random numbers gives an independent point.
        """
        if self.norm == "linf":
            return random.uniform(name, *shape, low=-self.epsilon, high=self.epsilon)
        normal = random.normal(name, *shape)
        # A share u of the volume lies within u^(1/n) of the radius.
        share = random.uniform(name + " share") ** (1.0 / math.prod(shape))
        return per_sample(self.epsilon * share, normal) * normal / _length(normal)

    def step(self, gradient: Tensor, alpha: float) -> Tensor:
        """Steepest ascent of length `alpha`: the sign of the gradient (B, ...), or its direction.

        Zero where a sample's gradient is zero.
        """
        if self.norm == "linf":
            return alpha * gradient.sign()
        return alpha * gradient / _length(gradient)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Bring images (B, ...) back into the ball around the clean ones, then into [0, 1].

        Since the clean image lies in [0, 1] itself, clipping only shortens differences.
        """
        difference = images - clean
        if self.norm == "linf":
            inside = difference.clamp(-self.epsilon, self.epsilon)
        else:
            inside = difference * (self.epsilon / _length(difference)).clamp(max=1.0)
        return (clean + inside).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Schedule:
    """Steps of an attack."""

    steps: int = 5
    """0 leaves the random start."""
    alpha: float | None = None
    """Length of a step as a share of the ball's radius; None is 2.5 / steps [O], enough to cross
    the ball and to come back within it."""
    momentum: float = 0.0
    """Decay of the accumulated gradient (Dong et al. 2018); 0 is none."""
    restarts: int = 1
    """Attacks from different starts."""
    random_start: bool = True
    """Start from a point of the ball; without, from the clean image."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.restarts < 1:
            raise ValueError("an attack takes at least 0 steps and 1 start")
        if self.momentum < 0.0 or (self.alpha is not None and self.alpha <= 0.0):
            raise ValueError("alpha is above 0, momentum at least 0")

    def step_length(self, epsilon: float) -> float:
        """Length of a step in the ball's norm."""
        share = 2.5 / max(self.steps, 1) if self.alpha is None else self.alpha
        return share * epsilon


class Attacked(NamedTuple):
    """Result of an attack."""

    images: Tensor
    """(B, 3, H, W) float32 in the ball and in [0, 1]: of each sample the iterate with the highest
    finite objective among all starts and steps; its first start where there is none."""
    values: Tensor
    """(steps + 1, B) float32: the objective at the start and after each step, of the attempt that
    the image of each sample comes from; the image's own is the largest finite one."""
    gradient: Tensor
    """(B,) float32: the mean absolute gradient of the first step of the same attempt; 0 says that
    the attack was blind. Without a step, 0."""


def attack(
    objective: Objective, images: Tensor, ball: Ball, schedule: Schedule, random: SampleRandom
) -> Attacked:
    """Ascend an objective within a ball around each image.

    x <- project(x + alpha sign(gradient)), or with the gradient's direction for L2; with momentum
    m, the gradient is g <- m g + gradient / mean |gradient|. Of all x, each sample keeps the best.

    A pure function of its arguments: a network keeps its `.grad`, buffers and mode, see
    `undisturbed`, and a sample's start depends on its random numbers alone. The clean images
    (B, 3, H, W) in [0, 1] are float32, else it is a TypeError: near 1, bfloat16 cannot hold 1/255.
    """
    if images.dtype != torch.float32:
        raise TypeError(f"an attack needs float32 images, not {images.dtype}")
    task = (objective, images, ball, schedule, random)
    best, peak = _attempt(*task, "attack start 0")
    for number in range(1, schedule.restarts):
        other, height = _attempt(*task, f"attack start {number}")
        better = height > peak
        best = Attacked(
            torch.where(per_sample(better, images), other.images, best.images),
            torch.where(better, other.values, best.values),
            torch.where(better, other.gradient, best.gradient),
        )
        peak = torch.where(better, height, peak)
    return best


def _attempt(
    objective: Objective,
    clean: Tensor,
    ball: Ball,
    schedule: Schedule,
    random: SampleRandom,
    name: str,
) -> tuple[Attacked, Tensor]:
    """One attack from one start, and the objective of what it keeps: -inf where none is finite."""
    images = clean
    if schedule.random_start:
        images = ball.project(clean + ball.start(random, name, tuple(clean.shape[1:])), clean)
    alpha = schedule.step_length(ball.epsilon)
    first, direction = torch.zeros_like(clean[:, 0, 0, 0]), torch.zeros_like(clean)
    values, best, peak = [], images, torch.full_like(first, -torch.inf)
    for step in range(schedule.steps + 1):
        moving = images.detach().requires_grad_(step < schedule.steps)
        with torch.set_grad_enabled(moving.requires_grad):
            objectives = objective(moving)
        value = objectives.detach().float()
        values.append(value)
        better = value.isfinite() & (value > peak)
        best = torch.where(per_sample(better, images), images, best)
        peak = torch.where(better, value, peak)
        if not moving.requires_grad:
            break
        # A sum, not a mean: each sample's gradient is its own, whatever the batch.
        (gradient,) = torch.autograd.grad(objectives.sum(), moving)
        size = gradient.abs().mean((1, 2, 3))
        if step == 0:
            first = size
        if schedule.momentum:
            scale = size.clamp_min(torch.finfo(size.dtype).tiny)
            direction = schedule.momentum * direction + gradient / per_sample(scale, gradient)
        else:
            direction = gradient
        images = ball.project(images + ball.step(direction, alpha), clean)
    return Attacked(best, torch.stack(values), first), peak


@contextlib.contextmanager
def undisturbed(network: nn.Module, *, exact: bool = True) -> Iterator[None]:
    """Run an attack on a network that must not notice it: eval mode, no own gradients.

    Batch norm then uses its running statistics and leaves them as they are, and no gradient is
    kept for parameters. Afterwards every module is in the mode that it was in. `exact` is in
    float32, whatever precision is in force around it.
    """
    modes = {module: module.training for module in network.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    device = next(iter(wanted)).device if wanted else torch.device("cpu")
    network.eval()
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.autocast(device.type, enabled=False) if exact else contextlib.nullcontext():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, needed in wanted.items():
            parameter.requires_grad_(needed)


def per_sample(numbers: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...), to broadcast over (B, ...)."""
    return numbers.view(-1, *(1,) * (like.ndim - 1))


def _length(values: Tensor) -> Tensor:
    """Euclidean length of each sample, never zero: (B, ...) to (B, 1, ...)."""
    return per_sample(values.flatten(1).square().sum(1).sqrt().clamp_min(_TINY), values)
