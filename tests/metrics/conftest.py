import pytest
import torch


@pytest.fixture(
    params=[
        pytest.param("cpu", id="tensors on the host"),
        pytest.param(
            "cuda",
            id="tensors on a GPU",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device to hand to a metric, which then goes through PyTorch there."""
    return torch.device(request.param)
