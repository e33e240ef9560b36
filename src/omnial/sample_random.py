"""Counter-based random numbers: every draw is a function of (seed, step, position, name).

A stateful generator would tie a sample to the batch it sits in. Here the numbers of a sample
depend on its own coordinates alone, so a resumed run, another number of processes or another
batch layout draws the same samples, bit for bit on every device (integer arithmetic only).
"""

import copy
import math
from zlib import crc32

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, the increment of splitmix64
_MULTIPLY_1 = -4658895280553007687  # splitmix64's finaliser constants as signed 64-bit integers
_MULTIPLY_2 = -7723592293110705685


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift right as if unsigned: PyTorch's own shift repeats the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    """Scramble 64-bit integers (the finaliser of splitmix64, Steele et al. 2014)."""
    value = value + _GOLDEN
    value = (value ^ _shift_right(value, 30)) * _MULTIPLY_1
    value = (value ^ _shift_right(value, 27)) * _MULTIPLY_2
    return value ^ _shift_right(value, 31)


class SampleRandom:
    """The random numbers of the samples of one batch of step `step`, or any other counter.

    Positions are (B,) int64, those of the samples in the whole batch; they decide the device.
    """

    def __init__(self, seed: int, step: int, positions: Tensor) -> None:
        start = torch.full_like(positions, seed)
        self._keys = _mix(_mix(_mix(start) + step) + positions)

    @property
    def device(self) -> torch.device:
        """The device that the numbers are drawn on."""
        return self._keys.device

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, samples: slice) -> "SampleRandom":
        """The random numbers of some of the samples."""
        part = copy.copy(self)
        part._keys = self._keys[samples]
        return part

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers, (B, *shape) float32 from low to high, which only rounding reaches.

        The name says what they are for; another name gives independent numbers.
        """
        keys = _mix(self._keys + crc32(name.encode()))
        counters = torch.arange(math.prod(shape), device=self.device, dtype=torch.int64)
        bits = _shift_right(_mix(keys[:, None] + counters * _GOLDEN), 40)
        unit = bits.to(torch.float32) * 2.0**-24
        return (low + (high - low) * unit).reshape(len(self), *shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape) float32, by Box and Muller (1958)."""
        # 1 - u is never 0, so the logarithm is finite.
        radius = (-2.0 * torch.log(1.0 - self.uniform(name + " radius", *shape))).sqrt()
        return radius * torch.cos(2.0 * math.pi * self.uniform(name + " angle", *shape))

    def integers(self, name: str, *shape: int, low: int = 0, high: int) -> Tensor:
        """Whole numbers from low to high - 1, (B, *shape) int64."""
        unit = self.uniform(name, *shape)
        return low + (unit * (high - low)).long().clamp_(max=high - low - 1)
