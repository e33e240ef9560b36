"""Samples drawn ahead are those drawn in turn, whatever happens to the budget and the threads."""

import threading
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.training import drawing
from omnial.training.drawing import Drawn, draw, drawn_ahead
from omnial.training.sampler import Batch
from omnial.training.schedule import Budget

FABRIC = Fabric(accelerator="cpu", devices=1)


def settings(*overrides: str) -> Settings:
    small = ["data.height=32", "data.width=32", "training.batch_size=2", "training.minutes=1"]
    return load_settings(size="tiny", overrides=[*small, "training.quarter_share=0.5", *overrides])


class Sampler:
    """Random images for any step; notes which thread asks, and on how many it computes."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.asked: dict[int, tuple[int, int]] = {}

    def batch(self, step: int) -> Batch:
        self.asked[step] = threading.get_ident(), torch.get_num_threads()
        if step == self.fails_at:
            raise OSError("the disk is gone")
        generator = torch.Generator().manual_seed(step)
        images, textures = torch.rand(2, 2, 3, 32, 32, generator=generator)
        return Batch(torch.arange(2), images, textures, torch.ones(2, 1, 32, 32).bool())


@pytest.fixture(params=[1, 99], ids=["in turn", "ahead"])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(drawing, "available_cores", lambda: request.param)
    return int(request.param)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def samples(sampler: Any, budget: Budget, first: int = 0, fabric: Any = FABRIC) -> Any:
    return closing(drawn_ahead(sampler, budget, settings(), fabric, first))


def equal(one: Drawn, other: Drawn) -> bool:
    pairs = zip(one.sample, other.sample, strict=True)
    return one.pixels == other.pixels and all(torch.equal(*pair) for pair in pairs)


@pytest.mark.usefixtures("threads", "cores")
def test_samples_are_those_of_their_step_while_the_budget_moves() -> None:
    """Steps 15 to 19 are whole, for the measurement; then the middle moves to and fro."""
    budget, first = Budget(settings().training), 13
    totals = [None] * 8 + [80, 42, 80, 40, 44, 90]
    kinds = []
    with samples(Sampler(), budget, first) as ahead:
        for step, total in enumerate(totals, first):
            budget.total_steps = total
            drawn = next(ahead)
            kinds.append(drawn.pixels == "mixed")
            assert equal(drawn, draw(Sampler().batch(step), settings(), step, total))
    assert kinds == [True, True, *[False] * 5, True, True, False, True, False, False, True]


def test_a_step_at_half_the_resolution_shows_whole_images() -> None:
    batch = Sampler().batch(60)
    both = settings("training.half_share=0.5")
    kinds = {}
    for step in (60, 61):
        drawn = draw(batch, both, step, 80)
        kinds[drawn.pixels] = drawn.sample.normal
    assert torch.equal(kinds["whole"], batch.images)
    assert torch.equal(kinds["half"], F.avg_pool2d(batch.images, 2))


@pytest.mark.usefixtures("threads")
def test_an_idle_core_draws_the_next_step(cores: int) -> None:
    sampler, here = Sampler(), threading.get_ident()
    with samples(sampler, Budget(settings().training)) as ahead:
        next(ahead)
        next(ahead)
    assert (sampler.asked[1] == (here, 1)) == (cores == 1)
    assert sampler.asked[1][1] == 1


@pytest.mark.usefixtures("threads")
def test_several_processes_leave_no_core_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "available_cores", lambda: 99)
    fabric = SimpleNamespace(device=FABRIC.device, world_size=2, to_device=FABRIC.to_device)
    sampler = Sampler()
    with samples(sampler, Budget(settings().training), fabric=fabric) as ahead:
        next(ahead)
    assert sampler.asked == {0: (threading.get_ident(), 1)}


@pytest.mark.usefixtures("threads", "cores")
def test_the_drawing_takes_the_threads_of_the_training() -> None:
    sampler = Sampler()
    with samples(sampler, Budget(settings().training)) as ahead:
        for step, threads in enumerate([1, 1, 2, 2, 1, 1]):
            torch.set_num_threads(threads)
            assert equal(next(ahead), draw(Sampler().batch(step), settings(), step, None))
            assert sampler.asked[step][1] == threads


@pytest.mark.usefixtures("threads", "cores")
def test_a_failure_is_raised_in_its_own_step() -> None:
    with samples(Sampler(fails_at=2), Budget(settings().training)) as ahead:
        next(ahead)
        next(ahead)
        with pytest.raises(OSError, match="the disk is gone"):
            next(ahead)


@pytest.mark.usefixtures("threads", "cores")
def test_no_thread_is_left_after_the_last_step() -> None:
    before = threading.active_count()
    with samples(Sampler(), Budget(settings().training)) as ahead:
        next(ahead)
    assert threading.active_count() == before
