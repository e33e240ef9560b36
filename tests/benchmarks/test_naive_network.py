"""The naive network is the same function, and the bare convolutions are all of its own."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bare_convolutions
from benchmarks.naive_network import NaiveNetwork
from omnial.config.load import load_settings
from omnial.models.system import build_model


@pytest.mark.parametrize("size", ["tiny", "lite"])
def test_the_naive_network_gives_the_same_results_and_gradients(size: str) -> None:
    settings = load_settings(size=size).model
    torch.manual_seed(0)
    # In double precision, in which two orders of the same sums agree closely.
    ours, naive = build_model(settings).double(), NaiveNetwork(settings).double()
    for name, weight in ours.named_parameters():
        if name.endswith("gain"):
            torch.nn.init.constant_(weight, 0.3)  # at 0, a branch counts for nothing
    naive.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 128, 128, dtype=torch.float64)
    for found, expected in zip(ours(images)[:3], naive(images), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    for network in (ours, naive):
        sum(part.square().mean() for part in network(images)[:3]).backward()
    others = dict(naive.named_parameters())
    for name, weight in ours.named_parameters():
        other = others.pop(name)
        assert weight.grad is not None, name
        torch.testing.assert_close(weight.grad, other.grad, atol=1e-4, rtol=1e-3)
    assert not others


def test_the_bare_convolutions_do_the_operations_of_the_networks_own() -> None:
    settings = load_settings(size="tiny").model
    network = NaiveNetwork(settings)
    images = torch.rand(2, 3, 64, 64)
    calls = bare_convolutions.collect(network, images)
    with FlopCounterMode(display=False) as counted:
        sum(part.square().mean() for part in network(images)).backward()
    operations = sum(call.operations() * times for call, times in calls.items())
    assert operations == counted.get_total_flops()
    run = bare_convolutions.prepare(calls, torch.float32)
    with FlopCounterMode(display=False) as bare:
        run()
    assert bare.get_total_flops() == operations
