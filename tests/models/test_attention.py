"""What the parts of DCSA see of the features."""

import pytest
import torch
from torch import Tensor, nn

from omnial.models.attention import DilatedSpatialAttention


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_spatial_attention_sees_each_positions_own_highest_value(dtype: torch.dtype) -> None:
    """Exactly, in the precision of the features: a maximum rounds nothing."""
    torch.manual_seed(0)
    gate = DilatedSpatialAttention("instance").to(dtype)
    seen: list[Tensor] = []

    def keep(_module: nn.Module, values: tuple[Tensor, ...]) -> None:
        seen.append(values[0])

    gate.standard.register_forward_pre_hook(keep)
    features = torch.randn(2, 5, 6, 7, dtype=dtype)
    gate(features)
    (pooled,) = seen
    assert pooled.dtype == dtype
    for image, position in torch.ones(2, 6 * 7).nonzero().tolist():
        highest = max(features[image].flatten(1)[:, position].tolist())
        assert pooled[image, 1].flatten()[position].item() == highest
