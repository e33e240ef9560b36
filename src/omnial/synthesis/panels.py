"""Panels: the part of an image in which anomalies may appear.

Half of an image then shows the network what normal looks like while the other half is broken.
"""

import torch
from torch import Tensor

from omnial.sample_random import SampleRandom


def draw_panels(random: SampleRandom, span: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """Draw one panel a sample: (B, 1, H, W) float32, 1 inside.

    It lies at the left, right, top or bottom and takes a share of the width or height within
    `span`, or it is the whole image of `size` (height, width).
    """
    kind = random.integers("panel kind", high=5).view(-1, 1, 1, 1)
    share = random.uniform("panel span", low=span[0], high=span[1]).view(-1, 1, 1, 1)
    height, width = size
    # Pixel centres as shares of the image, so that a span of 0.5 takes exactly half of it.
    y = ((torch.arange(height, device=random.device) + 0.5) / height).view(1, 1, -1, 1)
    x = ((torch.arange(width, device=random.device) + 0.5) / width).view(1, 1, 1, -1)
    inside = (
        ((kind == 0) & (x < share))
        | ((kind == 1) & (x > 1.0 - share))
        | ((kind == 2) & (y < share))
        | ((kind == 3) & (y > 1.0 - share))
        | (kind == 4)
    )
    return inside.expand(-1, 1, height, width).float()
