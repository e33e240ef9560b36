import torch
from torch import nn

from omnial.training.average import WeightAverage


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    made(torch.rand(4, 1, 3, 3))  # moves the statistics away from where all start
    return made


def test_average_is_the_ramped_one_of_a_plain_loop() -> None:
    average = WeightAverage(network(0), decay=0.5)
    expected: dict[str, torch.Tensor] = {}
    for step in range(12):
        state = network(step + 1).state_dict()
        built = network(step + 1)
        average.update(built, step)
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        for name, value in state.items():
            value = value.double()
            expected[name] = decay * expected[name] + (1 - decay) * value if step else value
    for name, value in average.module.state_dict().items():
        if value.is_floating_point():  # batch statistics included
            torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-5)
        else:
            assert int(value) == 1  # a counter is copied


def test_first_update_forgets_the_start_and_zero_decay_follows() -> None:
    average = WeightAverage(network(0), decay=0.999)
    average.update(network(1), 0)
    follower = WeightAverage(network(0), decay=0.0)
    for step in range(3):
        follower.update(network(step), step)
    for shadow, seed in ((average, 1), (follower, 2)):
        for name, value in network(seed).state_dict().items():
            torch.testing.assert_close(shadow.module.state_dict()[name], value)


def test_average_is_a_copy_without_gradients() -> None:
    source = network(0)
    average = WeightAverage(source, decay=0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.zero_()
    assert any(bool(parameter.any()) for parameter in average.parameters())
