"""The benchmark trains the reconstruction of the very network that a training begins with."""

import torch

from benchmarks.reconstruction import Reconstruction
from omnial.config.load import load_settings
from omnial.models.system import build_model


def test_it_gives_what_the_whole_network_reconstructs() -> None:
    settings = load_settings(size="tiny", overrides=["training.precision=fp32"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        whole = build_model(settings.model).train()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = Reconstruction(settings)(images), whole(images)
    torch.testing.assert_close(found.reconstruction, expected.reconstruction)
    torch.testing.assert_close(found.jnd, expected.jnd)
