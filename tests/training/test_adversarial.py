"""Adversarial training: off by default, an attack on what is trained, and resumable to the bit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.synthesis.recipe import SynthesizedBatch
from omnial.training.feed import FeedBatch
from omnial.training.fit import train
from omnial.training.module import TrainingModule
from omnial.training.objective import losses

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def settings() -> Settings:
    small = ["data.height=64", "data.width=64", "model.stem=4", "training.batch_size=4"]
    steps = ["training.steps=3", "training.adversarial_steps=2"]
    return load_settings(size="tiny", overrides=[*small, "training.precision=fp32", *steps])


def batch() -> FeedBatch:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return {
        "step": 3,
        "places": torch.arange(4),
        "images": images,
        "textures": images.flip(0),
        "region": torch.ones(4, 1, 64, 64, dtype=torch.bool),
    }


def raises_the_loss(
    module: TrainingModule, sample: SynthesizedBatch, moved: SynthesizedBatch
) -> bool:
    """Whether the loss of every sample has risen; leaves the module in eval mode."""
    objective = module.settings.objective
    module.eval()
    with torch.no_grad():
        clean, attacked = (
            losses(module.network(images), sample, objective).total(objective)
            for images in (sample.anomalous, moved.anomalous)
        )
    return bool((attacked > clean).all())


def test_it_is_off_by_default() -> None:
    assert load_settings().training.adversarial_steps == 0


def test_samples_move_within_the_ball_and_raise_the_loss() -> None:
    module = TrainingModule(settings())
    module.train()
    sample = module.synthesize(batch())
    before = {name: value.clone() for name, value in module.state_dict().items()}

    moved = module.perturb(sample, batch())

    change = (moved.anomalous - sample.anomalous).abs()
    assert 3.5 / 255 < float(change.max()) <= 4.001 / 255
    assert all(a is b for a, b in zip(moved[2:], sample[2:], strict=True))
    assert module.network.training
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert raises_the_loss(module, sample, moved)
    again = module.train().perturb(sample, batch())
    assert torch.equal(again.anomalous, moved.anomalous)


def test_it_runs_in_the_precision_of_the_training_and_the_loss_in_float32() -> None:
    module = TrainingModule(settings())
    sample = module.synthesize(batch())
    seen: set[torch.dtype] = set()
    for layer in module.network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: seen.add(output.dtype))

    with torch.autocast("cpu", torch.bfloat16):
        moved = module.perturb(sample, batch())

    assert seen == {torch.bfloat16}
    assert moved.anomalous.dtype == torch.float32
    assert raises_the_loss(module, sample, moved)


def test_a_resumed_run_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    generate(data, seed=2, classes=CLASS_NAMES[:1], size=64, train=6, test_good=1, per_kind=1)
    train(settings(), [data], tmp_path / "whole", progress=False)
    step = TrainingModule.training_step

    def stopping(self: TrainingModule, batch: FeedBatch, batch_idx: int) -> torch.Tensor:
        if batch["step"] == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", stopping)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(settings(), [data], tmp_path / "cut", progress=False)
    train(settings(), [data], tmp_path / "cut", resume=True, progress=False)

    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
