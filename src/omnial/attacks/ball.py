"""The ball that a perturbation stays in, and the epsilon of the paper's five levels.

Adversarial training has an epsilon of its own, `training.adversarial_epsilon`.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field
from torch import Tensor

from omnial.sample_random import SampleRandom

Norm = Literal["linf", "l2"]

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


def per_sample(numbers: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...), to broadcast over (B, ...)."""
    return numbers.view(-1, *(1,) * (like.ndim - 1))


def _length(values: Tensor) -> Tensor:
    """Euclidean length of each sample, never zero: (B, ...) to (B, 1, ...)."""
    return per_sample(values.flatten(1).square().sum(1).sqrt().clamp_min(_TINY), values)
