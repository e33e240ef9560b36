"""What turns gradients into steps: Adam, as published, or Muon for the kernels of convolutions.

Adam scales every weight by itself. Muon (Jordan et al. 2024) takes a kernel as a matrix, of a row
for each output channel, and makes the step orthogonal: all directions of the matrix are learnt at
the same pace, and not the few that dominate the gradient alone. A short training needs half of the
images for the same detection (docs/results/optimizer.md).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn

from omnial.config.settings import TrainingSettings

_MOMENTUM: Final = 0.95
_POLYNOMIAL: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients a, b, c of a step X <- (a + b X X^T + c (X X^T)^2) X, which takes every singular
value in (0, 1] towards one (Jordan et al. 2024)."""
_STEPS: Final = 5
_SCALE: Final = 0.2
"""Times the root of the longer side: a step as large as one of Adam (Liu et al. 2025, section 2.2),
so that both take the same rate."""
_LEAST_CHANNELS: Final = 8
"""Kernels with fewer output channels, such as those of spatial attention, are left to Adam."""
_TINY: Final = 1e-14


def make_optimizers(network: nn.Module, settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    """The optimizers of a network's parameters, each with a share of them."""
    kernels: list[nn.Parameter] = []
    if settings.optimizer == "muon":
        kernels = [p for p in network.parameters() if p.ndim == 4 and len(p) >= _LEAST_CHANNELS]
    of_kernels = set(map(id, kernels))
    adam = torch.optim.Adam(
        [p for p in network.parameters() if id(p) not in of_kernels],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    muon = [Muon(kernels, settings.learning_rate, settings.weight_decay)] if kernels else []
    return [adam, *muon]


def take_step(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """One step of all of them, at this rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, for kernels of convolutions, (O, I, height, width).

    The weight decay is decoupled. PyTorch's own takes matrices alone, one after the other and in
    bfloat16, which a processor without it computes many times as slowly.
    """

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(kernels, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every kernel that has a gradient."""
        for group in self.param_groups:
            kernels = [kernel for kernel in group["params"] if kernel.grad is not None]
            moved = orthogonal([_matrix(self._momentum(kernel)) for kernel in kernels])
            for kernel, matrix in zip(kernels, moved, strict=True):
                outputs, inputs, height, width = kernel.shape
                step = matrix.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
                size = _SCALE * max(matrix.shape) ** 0.5
                kernel.mul_(1.0 - group["lr"] * group["weight_decay"])
                kernel.add_(step, alpha=-group["lr"] * size)

    def _momentum(self, kernel: nn.Parameter) -> Tensor:
        """The mean of the gradients so far, with the latest one ahead of it."""
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        mean: Tensor = state["momentum"].lerp_(kernel.grad, 1.0 - _MOMENTUM)
        return torch.lerp(kernel.grad, mean, _MOMENTUM)


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """The orthogonal part of each matrix, about: U S V^T becomes U S' V^T, S' around one.

    Every step multiplies a matrix X from the left by a polynomial of A = X X^T, and so does their
    product. So only matrices of the shorter side are multiplied, all of one size at once, and each
    matrix by the product in the end: in float32 the same as step by step, at a third of the time.
    """
    by_side: dict[int, list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        by_side[min(matrix.shape)].append(index)
    result = list(matrices)
    a, b, c = _POLYNOMIAL
    for side, members in by_side.items():
        wide = [_wide(matrices[index]) for index in members]
        squares = torch.stack([matrix @ matrix.mT for matrix in wide])
        # The sum of the squared singular values bounds each of them.
        total = squares.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp_min(_TINY)
        squares = squares / total
        product = torch.eye(side, device=squares.device) * total.rsqrt()
        for step in range(_STEPS):
            factor = torch.baddbmm(squares, squares, squares, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            product = factor @ product
            if step + 1 < _STEPS:
                squares = factor @ squares @ factor
        for index, matrix, left in zip(members, wide, product, strict=True):
            moved = left @ matrix
            result[index] = moved if moved.shape == matrices[index].shape else moved.mT
    return result


def _wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose where it has more rows than columns."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def _matrix(kernel: Tensor) -> Tensor:
    """A row for each output channel: (O, I, h, w) to (O, h w I), in float32."""
    return kernel.permute(0, 2, 3, 1).flatten(1).float()
