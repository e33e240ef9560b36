"""The commands that are killed, what they start from, and what must come of them."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.errors import UserError
from omnial.model_folder.export_folder import read_export
from omnial.training.checkpoint import read_checkpoint
from tools.soak.content import cached, contents, left_over
from tools.soak.killer import run

EDGE: Final = 64
OUT, CACHE, WORK = "out", "cache", "work"
_SETTINGS: Final = (
    *("--size", "tiny", "--set", f"data.height={EDGE}", "--set", f"data.width={EDGE}"),
    *(
        "--set",
        "model.stem=4",
        "--set",
        "training.batch_size=4",
        "--set",
        "training.precision=fp32",
    ),
)
_OFTEN: Final = ("--set", "training.checkpoint_minutes=1e-6")


@dataclass(frozen=True)
class Material:
    """What the commands work on: data, and models of two seeds, for those that need them."""

    data: Path
    model: Path
    older_model: Path


@dataclass(frozen=True)
class Scenario:
    """A command.

    Attributes:
        name: What the record calls it.
        arguments: The command, with `out`, `cache` and `work` as folders next to each other.
        patterns: The files in `out` that are its result.
        grows: Of these, files that a run writes again as it goes on: they may differ until the
            end, but are never half written.
        over: The same command with the other model: what stands in `out` at first.
        share: How many of the kills it gets, against the others.
    """

    name: str
    arguments: tuple[str, ...]
    patterns: tuple[str, ...]
    grows: tuple[str, ...] = ()
    over: tuple[str, ...] | None = None
    share: int = 2

    def result(self, folder: Path) -> dict[str, str]:
        """What a run in a folder came to."""
        found = contents(folder / OUT, self.patterns)
        if self.name == "cache":
            found |= cached(folder / CACHE)
        return found

    def faults(
        self, folder: Path, allowed: Mapping[str, Mapping[str, str]], finished: bool
    ) -> list[str]:
        """What is wrong in a folder, in words.

        Args:
            folder: Where the run was.
            allowed: Whole results: `new`, and perhaps `earlier`.
            finished: The run has ended by itself.
        """
        found, new = self.result(folder), allowed["new"]
        if finished:
            faults = [f"{name}: differs" for name in new if found.get(name) != new[name]]
            faults += [f"{name}: unexpected" for name in found.keys() - new.keys()]
            return faults + [f"{name}: left over" for name in left_over(folder)]
        faults = []
        for name, digest in found.items():
            whole = {result.get(name) for result in allowed.values()}
            grows = any(Path(name).match(pattern) for pattern in self.grows)
            if digest not in whole and not (grows and not digest.startswith("not whole")):
                faults.append(f"{name}: {digest}")
        return faults + _CHECKS.get(self.name, _no_check)(folder, found, allowed)


def scenarios(material: Material) -> list[Scenario]:
    """All of them."""
    data, model, older = (
        str(path) for path in (material.data, material.model, material.older_model)
    )
    train = ("train", "--data", data, *_SETTINGS, "--resume", "--out", OUT)
    return [
        Scenario(
            *("train", (*train, "--steps", "8", *_OFTEN), ("model.safetensors", "config.json")),
            share=4,
        ),
        Scenario(
            "cache",
            ("train", "--data", data, *_SETTINGS, "--resume", "--out", OUT, "--steps", "1"),
            ("model.safetensors", "config.json"),
        ),
        Scenario(
            "evaluate",
            ("evaluate", model, "--data", data, "--gallery", "1", "--out", OUT),
            ("metrics.json", "metrics.csv", "index.html"),
            over=("evaluate", older, "--data", data, "--gallery", "1", "--out", OUT),
        ),
        Scenario(
            "predict",
            ("predict", model, data, "--out", OUT),
            ("predictions.jsonl", "results.csv", "index.html", "maps/*", "masks/*", "overlays/*"),
            over=("predict", older, data, "--out", OUT),
        ),
        Scenario(
            "attack",
            (
                *("attack", model, "--data", data, "--samples", "3", "--batch-size", "1"),
                *("--steps", "2", "--out", OUT),
            ),
            ("manifest.json", "*.safetensors"),
            grows=("manifest.json",),
            share=3,
        ),
        Scenario(
            "study",
            (
                *("study", "colour", "--data", data, *_SETTINGS, "--images", "8", "--seeds", "1"),
                *("--no-gallery", "--out", OUT, "--work", WORK),
            ),
            ("*.json", "README.md", "chart.png"),
            grows=("README.md", "chart.png"),
            share=3,
        ),
        Scenario(
            "export",
            ("export", model, "--format", "onnx", "--precision", "fp32", "--out", OUT),
            ("*.json", "*.onnx", "*.safetensors"),
            over=("export", older, "--format", "onnx", "--precision", "fp32", "--out", OUT),
            share=1,
        ),
    ]


def draw_material(folder: Path) -> Material:
    """Draw the data into a new folder, where the models will lie too."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    generate(data, seed=1, classes=CLASS_NAMES[:2], size=EDGE, train=10, test_good=1, per_kind=1)
    return Material(data, *(folder / f"model-{seed}" / OUT for seed in (0, 1)))


def train_models(material: Material) -> None:
    """Train the two models.

    Raises:
        RuntimeError: A training failed.
    """
    for seed, model in enumerate((material.model, material.older_model)):
        place = model.parent
        place.mkdir(exist_ok=True)
        arguments = (
            *("train", "--data", str(material.data), *_SETTINGS, "--steps", "2"),
            *("--seed", str(seed), "--resume", "--out", OUT),
        )
        ended = run(arguments, place, {"OMNIAL_CACHE": str(place.parent / CACHE)})
        if ended.code:
            raise RuntimeError(f"no model to work with: see {place / 'log.txt'}")


def start_from(folder: Path, earlier: Path | None) -> None:
    """Make a fresh folder, with an earlier result in it where there is one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if earlier is not None:
        shutil.copytree(earlier / OUT, folder / OUT)


_Check = Callable[[Path, Mapping[str, str], Mapping[str, Mapping[str, str]]], list[str]]


def _no_check(
    folder: Path, found: Mapping[str, str], allowed: Mapping[str, Mapping[str, str]]
) -> list[str]:
    return []


def _check_checkpoint(
    folder: Path, found: Mapping[str, str], allowed: Mapping[str, Mapping[str, str]]
) -> list[str]:
    path = folder / OUT / "checkpoints" / "last.ckpt"
    try:
        if path.exists():
            read_checkpoint(path)
    except UserError as error:
        return [str(error)]
    return []


def _check_export(
    folder: Path, found: Mapping[str, str], allowed: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """A folder that opens is one export, not parts of two."""
    try:
        read_export(folder / OUT)
    except UserError:
        return []
    return (
        [] if dict(found) in [dict(result) for result in allowed.values()] else ["a mixed export"]
    )


_CHECKS: Final[Mapping[str, _Check]] = {
    "train": _check_checkpoint,
    "cache": _check_checkpoint,
    "export": _check_export,
}
