"""Counter-based random numbers: every draw is a function of (seed, step, position, name).

A stateful generator would tie a sample to the batch it sits in. Here the numbers of a sample
depend on its own coordinates alone, so a resumed run, another number of processes or another
batch layout draws the same samples, bit for bit on every device (integer arithmetic only).
"""

import copy
import math
from typing import TypeAlias, TypeVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices: TypeAlias = NDArray[np.integer]
"""Integers on the CPU, int64."""

_Integers = TypeVar("_Integers", Tensor, Indices)

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, the increment of splitmix64
_MULTIPLY_1 = -4658895280553007687  # splitmix64's finaliser constants as signed 64-bit integers
_MULTIPLY_2 = -7723592293110705685


def _shift_right(value: _Integers, bits: int) -> _Integers:
    """Shift right as if unsigned: a signed shift repeats the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: _Integers) -> _Integers:
    """Scramble 64-bit integers (the finaliser of splitmix64, Steele et al. 2014)."""
    value = value + _GOLDEN
    value = (value ^ _shift_right(value, 30)) * _MULTIPLY_1
    value = (value ^ _shift_right(value, 27)) * _MULTIPLY_2
    return value ^ _shift_right(value, 31)


def _drawn(starts: _Integers, counters: _Integers) -> _Integers:
    """Numbers of 24 bits for each of the starts, (B,), and each of the counters, (n,): (B, n)."""
    return _shift_right(_mix(starts[:, None] + counters * _GOLDEN), 40)


def uploaded(integers: Indices, device: torch.device) -> Tensor:
    """The same on a device, without that the host waits for a GPU."""
    pinned = torch.empty(integers.shape, dtype=torch.int64, pin_memory=device.type == "cuda")
    pinned.numpy()[...] = integers
    return pinned.to(device, non_blocking=True)


class SampleRandom:
    """The random numbers of the samples of one batch of step `step`, or any other counter.

    Positions are (B,) int64 on the CPU, those of the samples in the whole batch.
    """

    def __init__(
        self, seed: int, step: int, positions: Tensor, device: torch.device | None = None
    ) -> None:
        self.device = device or torch.device("cpu")
        seeds = np.full(len(positions), seed, np.int64)
        self._keys = _mix(_mix(_mix(seeds) + step) + positions.numpy())
        self._numbers: Indices = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, samples: slice | Indices) -> "SampleRandom":
        """The random numbers of some of the samples."""
        some = copy.copy(self)
        some._keys = self._keys[samples]
        return some

    def on_cpu(self) -> "SampleRandom":
        """The same numbers on the CPU: what is decided with them waits for no GPU."""
        same = copy.copy(self)
        same.device = torch.device("cpu")
        return same

    def parts(self, samples: Indices, numbers: Indices) -> "SampleRandom":
        """The random numbers of some parts of the samples, each of which has several.

        Both are (N,), a sample's index and the number of one of its parts. Part n draws what is at
        n where `uniform` draws for all parts of a sample, (B, parts, *shape).
        """
        some = self[samples]
        some._numbers = numbers
        return some

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers, (B, *shape) float32 from low to high, which only rounding reaches.

        The name says what they are for; another name gives independent numbers.
        """
        size = math.prod(shape)
        starts = _mix(self._keys + crc32(name.encode())) + self._numbers * size * _GOLDEN
        if self.device.type == "cpu":  # in NumPy, where a few numbers take a fifth of the time
            unit = torch.empty(len(self), size)
            unit.numpy()[...] = _drawn(starts, np.arange(size, dtype=np.int64))
        else:
            counters = torch.arange(size, device=self.device)
            unit = _drawn(uploaded(starts, self.device), counters).float()
        return (low + (high - low) * (unit * 2.0**-24)).reshape(len(self), *shape)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape) float32, by Box and Muller (1958)."""
        # 1 - u is never 0, so the logarithm is finite.
        radius = (-2.0 * torch.log(1.0 - self.uniform(name + " radius", *shape))).sqrt()
        return radius * torch.cos(2.0 * math.pi * self.uniform(name + " angle", *shape))

    def integers(self, name: str, *shape: int, low: int = 0, high: int) -> Tensor:
        """Whole numbers from low to high - 1, (B, *shape) int64."""
        unit = self.uniform(name, *shape)
        return low + (unit * (high - low)).long().clamp_(max=high - low - 1)
