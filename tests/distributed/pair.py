"""What each of two processes does for the tests: its findings go into a file of its own.

python pair.py DATA MODEL OUT
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parent))

import small

from omnial.distributed import collectives
from omnial.distributed.world import read_world
from omnial.errors import UserError
from omnial.reporting.evaluation_report import evaluate
from omnial.training.batch_norm import SharedBatchNorm, share_batch_norm

data, model, out = map(Path, sys.argv[1:])
world = read_world()
opened: list[str] = []


def note_writing(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        opened.append(str(arguments[0]))
    if event in ("os.mkdir", "os.rename", "os.remove"):
        opened.append(str(arguments[0]))


def failing() -> int:
    if world.rank == 1:
        raise KeyError("only here")
    return world.rank


def refused() -> None:
    raise UserError(f"refused by {collectives.rank()}")


def message(work: Any) -> str:
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def gradients(share: bool) -> dict[str, Any]:
    loss = small.Loss()
    network = loss.module.network
    if share:
        share_batch_norm(network, on_gpu=False)
        assert any(isinstance(layer, SharedBatchNorm) for layer in network.modules())
    else:
        small.freeze_batch_norm(network)
    # By a name of its own: what exchanges the gradients must live until they are there.
    parallel = DistributedDataParallel(loss)
    parallel(feed.batch(0)).backward()
    found = {"gradients": small.gradients(network)}
    return found | {"buffers": dict(network.named_buffers())}


found: dict[str, Any] = {}
with collectives.joined(world, gpu=False):
    found |= {
        "rank": collectives.rank(),
        "size": collectives.size(),
        "first": collectives.first(lambda: f"from {world.rank}"),
        "collected": collectives.gather(lambda: world.rank * 10),
        "from_first": collectives.from_first(0.1 + world.rank),
        "any": [collectives.any_of(world.rank == 1), collectives.any_of(False)],
        "mean": collectives.mean(torch.tensor([1.0 + world.rank])).tolist(),
        "first_refuses": message(lambda: collectives.first(refused)),
        "one_fails": message(lambda: collectives.everyone(failing)),
    }
    feed = small.feed(data, world.rank, world.size)
    for name, share in (("frozen", False), ("shared", True)):
        saved = gradients(share)
        if world.rank == 0:
            torch.save(saved, out / f"{name}.pt")
    layer = small.through_batch_norm(lambda n: share_batch_norm(n, False), world.rank, world.size)
    torch.save(layer._asdict(), out / f"layer_{world.rank}.pt")
    sys.addaudithook(note_writing)
    found["losses"] = small.run(data, out / "pair")
    # A run of two that one goes on with, and a run of one that two go on with.
    found["losses_before"] = small.run(data, out / "two_then_one", dies_at=small.DIES_AT)
    found["losses_after"] = small.run(data, out / "one_then_two", resume=True)
    done: list[tuple[int, int]] = []
    result = evaluate(
        model,
        [data],
        out / "report",
        batch_size=2,
        device="cpu",
        on_evaluated=lambda *counts: done.append(counts),
    )
    found |= {
        "progress": done,
        "mean_figures": dict(result.mean),
        "pictures": len(result.gallery),
        "written": sorted({path for path in opened if str(out) in path}),
    }
(out / f"found_{world.rank}.json").write_text(json.dumps(found))
