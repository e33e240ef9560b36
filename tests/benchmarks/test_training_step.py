import torch
from torch import nn

from benchmarks.memory_passes import MemoryPasses, count
from benchmarks.training_step import STAGES, Step, naive_step
from omnial.config.load import load_settings
from omnial.models.system import build_model


def test_every_stage_of_a_step_is_timed_once_and_the_weights_move() -> None:
    overrides = ["data.height=64", "data.width=64", "training.batch_size=2"]
    step = Step(load_settings(size="tiny", overrides=overrides))
    before = [weight.detach().clone() for weight in step.state.network.parameters()]
    step()
    step()
    assert {stage: len(times) for stage, times in step.times.items()} == dict.fromkeys(STAGES, 2)
    assert all(min(times) >= 0 for times in step.times.values())
    moved = zip(before, step.state.network.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)


def test_the_naive_step_leaves_the_network_that_it_starts_from_alone() -> None:
    overrides = ["data.height=64", "data.width=64", "training.batch_size=2"]
    settings = load_settings(size="tiny", overrides=overrides)
    network = build_model(settings.model)
    before = [weight.detach().clone() for weight in network.parameters()]
    naive_step(settings, network)()
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.equal(old, new)


def test_no_operation_of_a_step_meets_two_memory_formats() -> None:
    passes = count("tiny", 2)
    assert passes.bytes.total() > passes.of_convolutions() > 0
    # The weights of convolutions of one channel are in both formats.
    assert set(passes.mixed) <= {"convolution", "convolution_backward"}


def test_passes_are_counted_and_mixed_formats_are_found() -> None:
    rows = torch.rand(2, 3, 4, 5)
    with MemoryPasses() as passes:
        _ = rows.view(2, 60).t()
        _ = rows + rows.contiguous(memory_format=torch.channels_last)
        _ = nn.functional.conv2d(rows, torch.rand(1, 3, 1, 1))
    assert passes.operations == {"clone": 1, "add": 1, "rand": 1, "convolution": 1}
    assert passes.bytes["add"] == 3 * 4 * 120
    assert passes.of_convolutions() == 4 * (120 + 3 + 40)
    assert passes.mixed == {"clone": 1, "add": 1}
