"""Adversarial training: an attack on what is trained, and resumable to the bit."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.distributed import collectives
from omnial.models.system import build_model
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch
from omnial.training.drawing import draw
from omnial.training.fit import train
from omnial.training.loop import perturb
from omnial.training.objective import losses
from omnial.training.sampler import Batch, BatchSampler
from omnial.training.schedule import adversarial_epsilon


def settings() -> Settings:
    small = ["data.height=64", "data.width=64", "model.stem=4", "training.batch_size=4"]
    steps = ["training.steps=3", "training.adversarial_steps=2"]
    steps += ["training.checkpoint_minutes=1e-9"]
    return load_settings(size="tiny", overrides=[*small, "training.precision=fp32", *steps])


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(settings().model)


RANDOM = SampleRandom(0, 3, torch.arange(4))
EVERY = load_settings(
    size="tiny", overrides=["training.adversarial_steps=2", "training.adversarial_share=1"]
)


@pytest.fixture
def sample() -> SynthesizedBatch:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    region = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    batch = Batch(torch.arange(4), images, images.flip(0), region)
    return draw(batch, settings(), 3, None).sample


def raises_the_loss(network: nn.Module, sample: SynthesizedBatch, moved: SynthesizedBatch) -> bool:
    """Whether the loss of every sample has risen; leaves the network in eval mode."""
    objective = settings().objective
    network.eval()
    with torch.no_grad():
        clean, attacked = (
            losses(network(images), sample, objective).total(objective)
            for images in (sample.anomalous, moved.anomalous)
        )
    return bool((attacked > clean).all())


def test_samples_move_within_the_ball_and_raise_the_loss(
    network: nn.Module, sample: SynthesizedBatch
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}

    moved = perturb(network, sample, EVERY, RANDOM, 4 / 255)

    change = (moved.anomalous - sample.anomalous).abs()
    assert 3.5 / 255 < float(change.max()) <= 4.001 / 255
    assert all(a is b for a, b in zip(moved[2:], sample[2:], strict=True))
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert raises_the_loss(network, sample, moved)
    again = perturb(network.train(), sample, EVERY, RANDOM, 4 / 255)
    assert torch.equal(again.anomalous, moved.anomalous)


def test_half_of_the_samples_stay_clean(network: nn.Module, sample: SynthesizedBatch) -> None:
    every = perturb(network, sample, EVERY, RANDOM, 4 / 255)
    moved = perturb(network, sample, settings(), RANDOM, 4 / 255)
    torch.testing.assert_close(moved.anomalous[:2], every.anomalous[:2], atol=1e-5, rtol=0)
    assert torch.equal(moved.anomalous[2:], sample.anomalous[2:])


def test_several_processes_attack_the_samples_that_one_would(
    network: nn.Module, sample: SynthesizedBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectives, "size", lambda: 4)
    moved = []
    for rank in range(4):
        monkeypatch.setattr(collectives, "rank", partial(int, rank))
        own = slice(rank, rank + 1)
        part = SynthesizedBatch(*(values[own] for values in sample))
        found = perturb(network, part, settings(), RANDOM[own], 4 / 255)
        moved.append(not torch.equal(found.anomalous, part.anomalous))
    assert moved == [True, True, False, False]


def test_the_radius_grows_over_the_first_half() -> None:
    training = settings().training
    found = [255 * adversarial_epsilon(step, 100, training) for step in (0, 10, 25, 50, 99)]
    assert found == pytest.approx([0.0, 0.8, 2.0, 4.0, 4.0])
    assert adversarial_epsilon(5, None, training) == 0.0


def test_it_runs_in_the_precision_of_the_training_and_the_loss_in_float32(
    network: nn.Module, sample: SynthesizedBatch
) -> None:
    seen: set[torch.dtype] = set()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: seen.add(output.dtype))

    with torch.autocast("cpu", torch.bfloat16):
        moved = perturb(network, sample, EVERY, RANDOM, 4 / 255)

    assert seen == {torch.bfloat16}
    assert moved.anomalous.dtype == torch.float32
    assert raises_the_loss(network, sample, moved)


def test_a_resumed_run_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    generate(data, seed=2, classes=CLASS_NAMES[:1], size=64, train=6, test_good=1, per_kind=1)
    train(settings(), [data], tmp_path / "whole", progress=False)
    batch = BatchSampler.batch

    def stopping(self: BatchSampler, step: int) -> Batch:
        if step == 2:
            raise RuntimeError("killed")
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSampler, "batch", stopping)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings(), [data], tmp_path / "cut", progress=False)
    train(settings(), [data], tmp_path / "cut", resume=True, progress=False)

    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
