"""Two processes on one machine, connected by gloo, and one that does the same alone."""

import filecmp
import json
import math
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

import small

from omnial.data.dataset import to_unit
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.distributed.launch import share_of_threads, start_here
from omnial.evaluation import evaluate as module
from omnial.reporting.evaluation_report import evaluate
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize


class Pair(NamedTuple):
    """What the two found, and what one found alone."""

    data: Path
    out: Path
    ranks: list[dict[str, Any]]
    losses: list[tuple[int, float]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    data, out = folder / "data", folder / "out"
    # Classes of 2 x 1 good and 3 and 4 defective images: the last batches are uneven.
    generate(data, seed=2, classes=CLASS_NAMES[:2], size=64, train=6, test_good=2, per_kind=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        losses = small.run(data, out / "one")
        small.run(data, out / "one_then_two", dies_at=small.DIES_AT)
        evaluate(out / "one", [data], out / "report_of_one", batch_size=2, device="cpu")
        command = [sys.executable, Path(__file__).with_name("pair.py"), data, out / "one", out]
        handler = signal.getsignal(signal.SIGINT)
        assert start_here(2, [str(part) for part in command]) == 0
        # Ctrl+C means afterwards what it meant before.
        assert signal.getsignal(signal.SIGINT) is handler
    torch.set_num_threads(threads)
    ranks = [json.loads((out / f"found_{rank}.json").read_text()) for rank in (0, 1)]
    return Pair(data, out, ranks, losses)


def test_every_process_knows_its_place_and_hears_the_first(pair: Pair) -> None:
    for rank, found in enumerate(pair.ranks):
        assert (found["rank"], found["size"]) == (rank, 2)
        assert found["first"] == "from 0"
        assert found["from_first"] == 0.1
        assert found["any"] == [True, False]
        assert found["mean"] == [1.5]
    assert [found["gathered"] for found in pair.ranks] == [[0, 10], []]


def test_an_error_of_one_is_raised_in_all(pair: Pair) -> None:
    assert [found["first_refuses"] for found in pair.ranks] == ["UserError: refused by 0"] * 2
    assert [found["one_fails"] for found in pair.ranks] == [
        "RunError: process 1: KeyError: 'only here'",
        "KeyError: 'only here'",
    ]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_samples_of_all_ranks_are_those_of_one(pair: Pair, world: int) -> None:
    """Images, textures and synthesized defects, bit for bit."""
    recipe = small.settings().synthesis
    whole = small.sampler(pair.data)
    parts = [small.sampler(pair.data, rank, world) for rank in range(world)]
    for step in (0, 1, 7):
        expected = whole.batch(step)
        random = SampleRandom(0, step, expected.positions)
        images, textures = to_unit(expected.images), to_unit(expected.textures)
        sample = synthesize(images, textures, recipe, random, expected.region)
        seen = []
        for part in parts:
            batch = part.batch(step)
            positions = batch.positions
            own = synthesize(
                to_unit(batch.images),
                to_unit(batch.textures),
                recipe,
                SampleRandom(0, step, positions),
                batch.region,
            )
            assert torch.equal(batch.images, expected.images[positions])
            for one, other in zip(own, sample, strict=True):
                assert torch.equal(one, other[positions])
            seen += positions.tolist()
        assert sorted(seen) == list(range(small.BATCH))


def test_gradients_are_those_of_one(pair: Pair) -> None:
    """With batch norm frozen: its statistics are each process's own on processors."""
    fabric = Fabric(accelerator="cpu", devices=1)
    expected = small.gradients(small.sampler(pair.data).batch(0), fabric, frozen=True)
    saved = torch.load(pair.out / "gradients.pt", weights_only=True)
    assert saved.keys() == expected.keys()
    assert difference(saved, expected) < 1e-4
    half = small.gradients(small.sampler(pair.data, 0, 2).batch(0), fabric, frozen=True)
    assert difference(half, expected) > 0.05  # what the test can see


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """The largest difference between gradients, as a share of the largest gradient."""
    largest = max(float(gradient.abs().max()) for gradient in second.values())
    return max(float((first[name] - second[name]).abs().max()) for name in second) / largest


def test_the_losses_of_a_run_are_nearly_those_of_one(pair: Pair) -> None:
    """But for batch norm, which sees two samples in each process, not four."""
    steps = [step for step, _ in pair.losses]
    assert steps == list(range(small.STEPS))
    for found in pair.ranks:
        assert [step for step, _ in found["losses"]] == steps
        for (_, loss), (_, expected) in zip(found["losses"], pair.losses, strict=True):
            assert math.isclose(loss, expected, rel_tol=0.1)
    assert pair.ranks[0]["losses"] == pair.ranks[1]["losses"]


def test_a_run_goes_on_with_another_number_of_processes(pair: Pair) -> None:
    left = pair.losses[small.DIES_AT :]
    resumed = {
        "one, then two": pair.ranks[0]["losses_after"],
        "two, then one": small.run(pair.data, pair.out / "two_then_one", resume=True),
    }
    for losses in resumed.values():
        assert [step for step, _ in losses] == [step for step, _ in left]
        for (_, loss), (_, expected) in zip(losses, left, strict=True):
            assert math.isclose(loss, expected, rel_tol=0.1)


def test_evaluation_is_that_of_one_to_the_last_byte(pair: Pair) -> None:
    for name in ("metrics.json", "metrics.csv"):
        reports = (pair.out / "report" / name, pair.out / "report_of_one" / name)
        assert filecmp.cmp(*reports, shallow=False)
    figures = json.loads((pair.out / "report" / "metrics.json").read_text())["mean"]
    assert all(found["mean_figures"] == figures for found in pair.ranks)
    assert (pair.out / "report" / "index.html").stat().st_size > 1000
    assert pair.ranks[0]["pictures"] > 0


def test_every_image_is_evaluated_once(pair: Pair) -> None:
    images = len(list(pair.data.glob("*/test/*/*.png")))
    done = [count for count, _ in pair.ranks[0]["progress"]]
    assert done[-1] == images
    # Batches of 2, and of fewer only where a class ends.
    assert all(0 < after - before <= 2 for before, after in zip([0, *done], done, strict=False))


def test_the_first_alone_writes(pair: Pair) -> None:
    written = pair.ranks[0]["written"]
    for folder in ("pair", "two_then_one", "one_then_two", "report"):
        assert any(f"/{folder}/" in path for path in written)
    assert pair.ranks[1]["written"] == []


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [share_of_threads(cores, 4) for cores in (64, 8, 2)] == [16, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert share_of_threads(3, 4) == 3


@pytest.mark.parametrize("together", [False, True])
def test_the_engine_of_an_export_keeps_to_its_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, together: bool
) -> None:
    class OpenedError(Exception):
        pass

    def inspector(folder: Path, threads: int | None, **_: object) -> None:
        raise OpenedError(threads)

    monkeypatch.setattr(module, "Inspector", inspector)
    monkeypatch.setattr(module.collectives, "together", lambda: together)
    monkeypatch.setattr(module.collectives, "everyone", lambda work: work())
    with pytest.raises(OpenedError) as caught:
        module.evaluate_folder(tmp_path, [tmp_path])
    assert caught.value.args == (torch.get_num_threads() if together else None,)
