"""Train the same short run in different ways, and say which of them give the same bits.

Each run has a process of its own. The exit code is 1 if one differs that must not.

    python tools/determinism.py --out runs/determinism
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

EDGE = 64
SETTINGS = (
    *(f"data.height={EDGE}", f"data.width={EDGE}", "model.stem=4", "training.batch_size=4"),
    *("training.precision=fp32", "training.checkpoint_minutes=1e-9"),
)


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        name: What the table calls it.
        same: The design promises the bits of the first.
        environment: For its process.
        settings: Over those of all.
        killed: The run is killed half way, and resumed by another process.
        twice: The second of two runs in one process counts.
    """

    name: str
    same: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    killed: bool = False
    twice: bool = False


WAYS = (
    Way("one thread", True),
    Way("again, in another process", True),
    Way("again, in the same process", True, twice=True),
    Way("killed half way and resumed", True, killed=True),
    Way("without the cache of decoded images", True, settings=("data.cache_gigabytes=0",)),
    Way("two threads", False, {"OMP_NUM_THREADS": "2"}),
    Way("AVX2 alone", False, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    Way("SSE 4.1 alone", False, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
)
ON_GPU = (
    Way("GPU", False, settings=("training.accelerator=gpu",)),
    Way("GPU, again", False, settings=("training.accelerator=gpu",)),
)


@dataclass(frozen=True)
class Found:
    """How far a run's weights are from those of the first way.

    Attributes:
        name: The way.
        same: It must have the same bits.
        identical: It has.
        largest: Largest difference of two weights.
        relative: Norm of the difference, as a share of how far training moved the weights.
        scores: Largest difference of two validation scores that the thresholds are set from.
    """

    name: str
    same: bool
    identical: bool
    largest: float
    relative: float
    scores: float


def main(
    steps: Annotated[int, typer.Option(min=2, help="Of each run.")] = 20,
    out: Annotated[Path, typer.Option(help="For determinism.json and .md.")] = Path(
        "runs/determinism"
    ),
    work: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Compare the ways to train."""
    if work:
        _train(**json.loads(work))
        return
    import torch

    from omnial import machine
    from omnial.demo.production_line import CLASS_NAMES, generate

    found: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="omnial-determinism-") as name:
        folder = Path(name)
        data = folder / "data"
        generate(
            data, seed=1, classes=CLASS_NAMES[:2], size=EDGE, train=10, test_good=1, per_kind=1
        )
        start = folder / "start"
        # A rate of almost nothing: the weights that training starts from, as a model folder.
        _run(Way("start", True, settings=("training.learning_rate=1e-30",)), data, start, 1)
        for number, way in enumerate((*WAYS, *(ON_GPU if torch.cuda.is_available() else ()))):
            model = folder / str(number)
            _run(way, data, model, steps)
            found.append(_compare(way, model, folder / "0", start))
            print(found[-1], file=sys.stderr, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    facts = {"steps": steps, "machine": machine.describe(), "ways": [asdict(f) for f in found]}
    (out / "determinism.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    (out / "determinism.md").write_text(_table(found), "utf-8")
    raise typer.Exit(int(any(way.same and not way.identical for way in found)))


def _run(way: Way, data: Path, model: Path, steps: int) -> None:
    """Train in a process of its own, or in two where the first one is killed."""
    for kill in (True, False) if way.killed else (False,):
        work = {
            "data": str(data),
            "model": str(model),
            "overrides": [*SETTINGS, f"training.steps={steps}", *way.settings],
            "kill_at": steps // 2 if kill else None,
            "before": str(model) + "-before" if way.twice else None,
        }
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OMNIAL_CACHE": str(model) + "-cache",
            **way.environment,
        }
        ended = subprocess.run(
            [sys.executable, __file__, "--work", json.dumps(work)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != (-signal.SIGKILL if kill else 0):
            raise RuntimeError(f"{way.name}: {ended.stderr}")


def _train(
    data: str, model: str, overrides: list[str], kill_at: int | None, before: str | None
) -> None:
    """What the process of one run does."""
    from omnial.config.load import load_settings
    from omnial.training.fit import train
    from omnial.training.sampler import Batch, BatchSampler

    settings = load_settings(size="tiny", overrides=overrides)
    batch = BatchSampler.batch

    def dying(self: BatchSampler, step: int) -> Batch:
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch(self, step)

    BatchSampler.batch = dying  # type: ignore[method-assign]
    for folder in (before, model):
        if folder is not None:
            train(settings, [Path(data)], Path(folder), resume=True, progress=False)


def _compare(way: Way, model: Path, first: Path, start: Path) -> Found:
    from safetensors.torch import load_file

    from omnial.model_folder.config_file import read_config

    one, other, origin = (load_file(f / "model.safetensors") for f in (model, first, start))
    names = [n for n, value in one.items() if n.startswith("network") and value.is_floating_point()]
    apart = [(one[name].double() - other[name].double()) for name in names]
    moved = [other[name].double() - origin[name].double() for name in names]
    scores = [read_config(folder).calibration.scores or {} for folder in (model, first)]
    pairs = [
        abs(a - b)
        for name in scores[0]
        for a, b in zip(scores[0][name], scores[1][name], strict=True)
    ]
    return Found(
        name=way.name,
        same=way.same,
        identical=(model / "model.safetensors").read_bytes()
        == (first / "model.safetensors").read_bytes(),
        largest=max(float(values.abs().max()) for values in apart if values.numel()),
        relative=_norm(apart) / _norm(moved),
        scores=max(pairs),
    )


def _norm(parts: list) -> float:  # type: ignore[type-arg]  # of tensors
    return float(sum(float((part**2).sum()) for part in parts) ** 0.5)


def _table(found: list[Found]) -> str:
    lines = [
        "| way | promised | same bits | largest difference of a weight | as a share of the way "
        "trained | largest difference of a score |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in found:
        figures = (row.largest, row.relative, row.scores)
        cells = ("0" if figure == 0 else f"{figure:.1e}" for figure in figures)
        same = "yes" if row.identical else "no"
        lines.append(
            f"| {row.name} | {'yes' if row.same else ''} | {same} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
