"""Where anomalies appear and in which shape: panels, and thresholded, rotated Perlin noise.

Perlin noise at (y, x) is the sum over lattice corners (i, j) of w(y - i) w(x - j) times the
corner's gradient dotted with (y - i, x - j). The weights factor, so a whole batch of noise
images is two batched products of small matrices, exact at every pixel, without any gather.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omnial.sample_random import SampleRandom, uploaded

_LINE_WIDTHS = (1.0, 6.0)
"""Width of a thin line in pixels, drawn on a logarithmic scale."""
_CUT = 0.15
"""Noise below which a line is cut: pieces as long as a cell of the noise remain."""


def pixel_centres(length: int, device: torch.device) -> Tensor:
    """Positions of the pixels in `grid_sample` along an axis: (length,) inside -1..1."""
    return (torch.arange(length, device=device) + 0.5) * (2.0 / length) - 1.0


def rotated(images: Tensor, turn: Tensor) -> Tensor:
    """Images (B, C, H, W) rotated about their centre by (B,) radians, 0 outside of them.

    PyTorch's `affine_grid` is a matrix product over three columns, three times as slow.
    """
    height, width = images.shape[-2:]
    cosine, sine = turn.cos()[:, None], turn.sin()[:, None]
    y, x = pixel_centres(height, turn.device), pixel_centres(width, turn.device)
    aspect = width / height
    grid = torch.empty(len(turn), height, width, 2, device=turn.device)
    torch.sub((cosine * x)[:, None], (sine / aspect * y)[:, :, None], out=grid[..., 0])
    torch.add((sine * aspect * x)[:, None], (cosine * y)[:, :, None], out=grid[..., 1])
    return F.grid_sample(images, grid, align_corners=False)


def draw_panels(random: SampleRandom, span: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """Draw one panel a sample, where anomalies may appear: (B, 1, H, W) float32, 1 inside.

    Half of an image then shows the network what normal looks like while the other half is broken.

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


def _axis_weights(cells: Tensor, corners: int, length: int) -> tuple[Tensor, Tensor]:
    """Fade weights of the lattice corners along an axis of `length` pixels and (N,) cells.

    Returns them and the same times the distance, both (N, length, corners).
    """
    pixels = torch.arange(length, device=cells.device, dtype=torch.float32) / length
    position = pixels.view(1, -1, 1) * cells.view(-1, 1, 1)
    distance = position - torch.arange(corners, device=cells.device, dtype=torch.float32)
    near = (1.0 - distance.abs()).clamp(min=0.0)
    weight = near**3 * (near * (near * 6.0 - 15.0) + 10.0)
    return weight, weight * distance


def perlin_noise(angles: Tensor, cells_y: Tensor, cells_x: Tensor, size: tuple[int, int]) -> Tensor:
    """Perlin noise with unit gradients, scaled by sqrt(2) to fill [-1, 1] (Perlin 2002).

    From (N, M, M) gradient directions in radians at the lattice corners to (N, H, W) float32. An
    image has (N,) float cells along the height and the width, at most M - 1; where it has c, it
    uses the first c + 1 corners.
    """
    corners = angles.shape[-1]
    weight_y, slope_y = _axis_weights(cells_y, corners, size[0])
    weight_x, slope_x = _axis_weights(cells_x, corners, size[1])
    noise = slope_y @ (torch.sin(angles) @ weight_x.mT)
    noise += weight_y @ (torch.cos(angles) @ slope_x.mT)
    return math.sqrt(2.0) * noise


def perlin_shapes(
    random: SampleRandom,
    octaves: tuple[int, int],
    threshold: float,
    size: tuple[int, int],
    line_share: float = 0.0,
) -> Tensor:
    """Draw binary shapes: noise of a random scale per axis, rotated up to 90 degrees, thresholded.

    The lattice cells per axis are 2 to a power from `octaves`, ends included. A share of the shapes
    are `thin_lines` of the same noise instead. Returns (N, H, W) bool, one shape for each of N that
    `random` draws for; some are empty, as the noise has it.
    """
    low, high = octaves
    corners = 2**high + 1
    cells = 2.0 ** random.integers("perlin scale", 2, low=low, high=high + 1).float()
    angles = random.uniform("perlin gradients", corners, corners, high=2 * math.pi)
    noise = perlin_noise(angles, cells[:, 0], cells[:, 1], size)
    turn = random.uniform("perlin turn", low=-math.pi / 2, high=math.pi / 2)
    noise = rotated(noise.unsqueeze(1), turn)[:, 0]
    shapes = noise > threshold
    if line_share > 0.0:
        thinnest, widest = (math.log(width) for width in _LINE_WIDTHS)
        width = random.uniform("line width", 1, 1, low=thinnest, high=widest).exp()
        # Chosen on the CPU, so that no line is drawn in vain.
        chosen = random.on_cpu().uniform("line") < line_share
        numbers = np.flatnonzero(chosen.numpy())
        if len(numbers):
            lines = uploaded(numbers, noise.device)
            shapes[lines] = thin_lines(noise[lines], width[lines])
    return shapes


def thin_lines(noise: Tensor, width: Tensor) -> Tensor:
    """Pieces of the lines along which (N, H, W) noise passes through 0: bool, of the same shape.

    |n| / |grad n| is a pixel's distance from the line, so that lines are `width` pixels wide,
    (N, 1, 1), whatever the noise's scale. They are cut where the mirrored noise is low.
    """
    down = F.pad(noise.diff(dim=1), (0, 0, 0, 1), mode="replicate")
    across = F.pad(noise.diff(dim=2), (0, 1), mode="replicate")
    squared_slope = down.square_().addcmul_(across, across)
    near = noise.square() < (width / 2).square() * squared_slope
    return near & (noise.flip((1, 2)) > _CUT)
