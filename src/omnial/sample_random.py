"""Counter-based random numbers: every draw is a function of (seed, step, position, name).

A stateful generator would tie a sample to the batch it sits in. Here the numbers of a sample
depend on its own coordinates alone, so a resumed run, another number of processes or another
batch layout draws the same samples, bit for bit, on every device.
"""

import copy
import math
from typing import Final
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the increment of splitmix64


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers, which wrap (the finaliser of splitmix64, Steele et al. 2014)."""
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


class SampleRandom:
    """The random numbers of the samples of one batch of step `step`, or any other counter.

    Positions are (B,) int64 on the CPU, those of the samples in the whole batch. Numbers are drawn
    there, where a few of them take a fifth of the time, and moved to the device.
    """

    def __init__(
        self, seed: int, step: int, positions: Tensor, device: torch.device | None = None
    ) -> None:
        self.device = device or torch.device("cpu")
        coordinates = (np.full(len(positions), seed), np.int64(step), positions.numpy())
        keys = np.zeros(len(positions), np.uint64)
        for coordinate in coordinates:
            keys = _mix(keys + coordinate.astype(np.uint64))
        self._keys = keys
        self._numbers: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, samples: slice | Tensor) -> "SampleRandom":
        """The random numbers of some of the samples, by a slice or their indices on the CPU."""
        some = copy.copy(self)
        some._keys = self._keys[samples if isinstance(samples, slice) else samples.numpy()]
        return some

    def on_cpu(self) -> "SampleRandom":
        """The same numbers on the CPU: what is decided with them waits for no GPU."""
        same = copy.copy(self)
        same.device = torch.device("cpu")
        return same

    def parts(self, samples: Tensor, numbers: Tensor) -> "SampleRandom":
        """The random numbers of some parts of the samples, each of which has several.

        Both are (N,) int64 on the CPU, a sample's index and the number of one of its parts. Part n
        draws what is at n where `uniform` draws for all parts of a sample, (B, parts, *shape).
        """
        some = self[samples]
        some._numbers = numbers.numpy().astype(np.uint64)
        return some

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers, (B, *shape) float32 from low to high, which only rounding reaches.

        The name says what they are for; another name gives independent numbers.
        """
        keys = _mix(self._keys + np.uint64(crc32(name.encode())))[:, None]
        size = math.prod(shape)
        counters = np.arange(size, dtype=np.uint64)
        if self._numbers is not None:
            counters = self._numbers[:, None] * np.uint64(size) + counters
        bits = _mix(keys + counters * _GOLDEN) >> np.uint64(40)
        unit = bits.astype(np.float32) * np.float32(2.0**-24)
        numbers = np.float32(low) + np.float32(high - low) * unit
        return torch.from_numpy(numbers).reshape(len(self), *shape).to(self.device)

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape) float32, by Box and Muller (1958)."""
        # 1 - u is never 0, so the logarithm is finite.
        radius = (-2.0 * torch.log(1.0 - self.uniform(name + " radius", *shape))).sqrt()
        return radius * torch.cos(2.0 * math.pi * self.uniform(name + " angle", *shape))

    def integers(self, name: str, *shape: int, low: int = 0, high: int) -> Tensor:
        """Whole numbers from low to high - 1, (B, *shape) int64."""
        unit = self.uniform(name, *shape)
        return low + (unit * (high - low)).long().clamp_(max=high - low - 1)
