"""The sets that a perturbation is kept in: a ball of one of two norms, and the range of images."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from omnial.synthesis.random import SampleRandom

Norm = Literal["linf", "l2"]

_TINY = 1e-12


@dataclass(frozen=True)
class Ball:
    """All images that differ from a clean one by at most `epsilon`, and lie in [0, 1].

    Attributes:
        epsilon: Radius, in units of the pixels' range: 8 / 255 is eight grey levels.
        norm: `linf`, the largest change of a value; `l2`, the root of the summed squares over
            all values of a sample.
    """

    epsilon: float
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        if not self.epsilon >= 0.0 or not math.isfinite(self.epsilon):
            raise ValueError(f"the radius of a ball is at least 0, not {self.epsilon}")
        if self.norm not in ("linf", "l2"):
            raise ValueError(f"the norm is linf or l2, not {self.norm!r}")

    def start(self, random: SampleRandom, name: str, shape: tuple[int, ...]) -> Tensor:
        """A point drawn uniformly from the ball around zero, each sample's from its own numbers.

        Args:
            random: The samples' random numbers.
            name: What the numbers are for; another name gives an independent point.
            shape: Shape of one sample.

        Returns:
            (B, *shape) float32.
        """
        if self.norm == "linf":
            return random.uniform(name, *shape, low=-self.epsilon, high=self.epsilon)
        # Box and Muller (1958); 1 - u is never 0, so the logarithm is finite.
        radius = (-2.0 * torch.log(1.0 - random.uniform(name + " radius", *shape))).sqrt()
        normal = radius * torch.cos(2.0 * math.pi * random.uniform(name + " angle", *shape))
        # A share u of the volume lies within u^(1/n) of the radius.
        share = random.uniform(name + " share") ** (1.0 / math.prod(shape))
        return _each(self.epsilon * share, normal) * normal / _length(normal)

    def step(self, gradient: Tensor, alpha: float) -> Tensor:
        """The steepest ascent of length `alpha`: the sign of the gradient, or its direction.

        Args:
            gradient: (B, ...).
            alpha: Length in the ball's norm.

        Returns:
            (B, ...); zero where a sample's gradient is zero.
        """
        if self.norm == "linf":
            return alpha * gradient.sign()
        return alpha * gradient / _length(gradient)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """Bring images back into the ball around the clean ones, then into [0, 1].

        The second keeps what the first reached: since the clean image lies in [0, 1] itself,
        clipping only shortens differences.

        Args:
            images: (B, ...).
            clean: (B, ...) in [0, 1].
        """
        difference = images - clean
        if self.norm == "linf":
            kept = difference.clamp(-self.epsilon, self.epsilon)
        else:
            kept = difference * (self.epsilon / _length(difference)).clamp(max=1.0)
        return (clean + kept).clamp(0.0, 1.0)


def _length(values: Tensor) -> Tensor:
    """Euclidean length of each sample, never zero: (B, ...) to (B, 1, ...)."""
    squares = values.flatten(1).square().sum(1).sqrt().clamp_min(_TINY)
    return _each(squares, values)


def _each(numbers: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...), to go with (B, ...)."""
    return numbers.view(-1, *(1,) * (like.ndim - 1))
