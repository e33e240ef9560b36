import torch
from lightning_fabric import Fabric
from torch import nn

from omnial.config.load import load_settings
from omnial.training.loop import TrainState, update_average


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    made(torch.rand(4, 1, 3, 3))  # moves the statistics away from where all start
    return made


def test_average_is_the_ramped_one_of_a_plain_loop() -> None:
    average = network(0)
    expected: dict[str, torch.Tensor] = {}
    for step in range(12):
        state = network(step + 1).state_dict()
        update_average(average, network(step + 1), step, 0.5)
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        for name, value in state.items():
            value = value.double()
            expected[name] = decay * expected[name] + (1 - decay) * value if step else value
    for name, value in average.state_dict().items():
        if value.is_floating_point():  # batch statistics included
            torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-5)
        else:
            assert int(value) == 1  # a counter is copied


def test_first_update_forgets_the_start_and_zero_decay_follows() -> None:
    average, follower = network(0), network(0)
    update_average(average, network(1), 0, 0.999)
    for step in range(3):
        update_average(follower, network(step), step, 0.0)
    for shadow, seed in ((average, 1), (follower, 2)):
        for name, value in network(seed).state_dict().items():
            torch.testing.assert_close(shadow.state_dict()[name], value)


def test_average_starts_as_a_copy_without_gradients() -> None:
    settings = load_settings(size="tiny")
    state = TrainState.start(settings, Fabric(accelerator="cpu", devices=1))
    assert not any(parameter.requires_grad for parameter in state.average.parameters())
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter.zero_()
    assert any(bool(parameter.any()) for parameter in state.average.parameters())
