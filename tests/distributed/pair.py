"""What each of two processes does for the tests: its findings go into a file of its own.

python pair.py DATA MODEL OUT
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

import small

from omnial.distributed import collectives
from omnial.distributed.launch import launched, read_processes
from omnial.errors import UserError
from omnial.reporting.evaluation_report import evaluate

data, model, out = map(Path, sys.argv[1:])
world = read_processes()
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


found: dict[str, Any] = {}
with launched(gpu=False) as fabric:
    found |= {
        "rank": collectives.rank(),
        "size": collectives.size(),
        "first": collectives.first(lambda: f"from {world.rank}"),
        "gathered": collectives.gather(lambda: world.rank * 10),
        "from_first": collectives.from_first(0.1 + world.rank),
        "any": [collectives.any_of(world.rank == 1), collectives.any_of(False)],
        "mean": collectives.mean(torch.tensor([1.0 + world.rank])).tolist(),
        "first_refuses": message(lambda: collectives.first(refused)),
        "one_fails": message(lambda: collectives.everyone(failing)),
    }
    batch = small.sampler(data, world.rank, world.size).batch(0)
    gradients = small.gradients(batch, fabric, frozen=True)
    if world.rank == 0:
        torch.save(gradients, out / "gradients.pt")
    sys.addaudithook(note_writing)
    found["losses"] = small.run(data, out / "pair")
    # A run of two that one goes on with, and a run of one that two go on with.
    found["losses_before"] = small.run(data, out / "two_then_one", dies_at=small.DIES_AT)
    found["losses_after"] = small.run(data, out / "one_then_two", resume=True)
    done: list[tuple[int, int]] = []

    def note_progress(what: str, count: int, total: int) -> None:
        if what == "evaluating":
            done.append((count, total))

    result = evaluate(
        model,
        [data],
        out / "report",
        batch_size=2,
        device="cpu",
        progress=note_progress,
    )
    found |= {
        "progress": done,
        "mean_figures": dict(result.mean),
        "pictures": len(result.gallery),
        "written": sorted({path for path in opened if str(out) in path}),
    }
(out / f"found_{world.rank}.json").write_text(json.dumps(found))
