"""A quarter of the pixels of an image: a crop at its own scale, or all of it at half the scale."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from omnial.sample_random import SampleRandom


def random_crops(batches: Sequence[Tensor], random: SampleRandom) -> list[Tensor]:
    """Cut a crop out of each sample, at the same position in every batch of images.

    From (B, C, H, W) each, of any type, to (B, C, ceil(H / 2), ceil(W / 2)).
    """
    height, width = batches[0].shape[-2:]
    rows, columns = -(-height // 2), -(-width // 2)
    top = random.integers("crop top", 1, 1, high=height - rows + 1)
    left = random.integers("crop left", 1, 1, high=width - columns + 1)
    y = top + torch.arange(rows, device=random.device).view(1, -1, 1)
    x = left + torch.arange(columns, device=random.device).view(1, 1, -1)
    sample = torch.arange(len(random), device=random.device).view(-1, 1, 1)
    # Indexing needs the channels at the end.
    cut = (images.permute(0, 2, 3, 1)[sample, y, x] for images in batches)
    return [images.permute(0, 3, 1, 2).contiguous() for images in cut]


def halved(images: Tensor) -> Tensor:
    """Half the rows and columns by area average, of bool where half a pixel is set.

    From (B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2)) of the same type.
    """
    means = F.avg_pool2d(images.float(), 2, ceil_mode=True)
    return means >= 0.5 if images.dtype == torch.bool else means
