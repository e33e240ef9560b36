"""Images of no product: noise, from which the recogniser learns what none of them looks like."""

from collections.abc import Iterator

import torch
from torch import Tensor

_LEVELS = [(mean, deviation) for mean in (0.2, 0.5, 0.8) for deviation in (0.03, 0.1, 0.25)]
_EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Of the frequency, by which the amplitude falls: white, pink, brown and between. [O]"""


def noise(height: int, width: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Images of no product, in batches of (B, 3, height, width) float32 in [0, 1]: noise.

    It has many brightnesses, strengths and grains, and is grey and coloured.
    """
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = torch.hypot(rows, columns)
    frequency[0, 0] = 1.0
    levels = torch.tensor(_LEVELS)[:, :, None, None, None]
    for exponent in _EXPONENTS:
        for channels in (1, 3):
            white = torch.randn(len(levels), channels, height, width, generator=generator)
            spectrum = torch.fft.rfft2(white) / frequency**exponent
            grains = torch.fft.irfft2(spectrum, s=(height, width))
            grains = (grains - grains.mean((2, 3), keepdim=True)) / grains.std((2, 3), keepdim=True)
            yield (levels[:, 0] + levels[:, 1] * grains).clamp(0.0, 1.0).expand(-1, 3, -1, -1)
