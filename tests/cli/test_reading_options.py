"""Advice that can be followed: what a message names is an option of the verb that says it."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from omnial.cli import app
from omnial.cli.verb import _one_line
from omnial.config.settings import Reading
from omnial.inference.inspector import Inspector
from omnial.model_folder.weights_file import save_model
from tests.small_model import untrained

Run = Callable[..., Any]
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]  # a group of verbs
READERS = [
    *("train", "synthesize", "study", "evaluate", "predict", "calibrate", "drift", "export"),
    *("attack", "robustness", "serve", "watch", "add", "learn"),
]
STOPPING = ["train", "synthesize", "study", "evaluate", "attack", "robustness", "add"]
TINY = ("--size", "tiny", "--set", "data.height=32", "--set", "data.width=32")


def options_of(verb: str) -> set[str]:
    return {name for parameter in COMMANDS[verb].params for name in parameter.opts}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nut` has pictures of 12 bits in 16, and `model` knows it."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    for name in [*(f"train/good/{n}" for n in range(5)), "test/good/0", "test/bent/0"]:
        path = folder / "nut" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 4096, (40, 50), dtype=np.uint16)).save(path)
    save_model(folder / "model", untrained(["nut"]))
    return folder


@pytest.mark.parametrize("verb", READERS)
def test_every_verb_that_reads_pictures_has_the_options(verb: str) -> None:
    assert {"--max-megapixels", "--significant-bits"} <= options_of(verb)
    assert ("--skip-bad-files" in options_of(verb)) == (verb in STOPPING)


@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        ("train", ["--steps", 1, *TINY, "--set", "training.batch_size=2"]),
        ("synthesize", ["--count", 1, *TINY]),
        ("evaluate", ["--gallery", 0]),
        ("predict", []),
        ("calibrate", []),
        ("drift", []),
    ],
)
def test_the_advice_is_followed(
    run: Run, place: Path, tmp_path: Path, verb: str, rest: list[Any]
) -> None:
    if verb in ("train", "synthesize"):
        base = [verb, "--data", place / "nut"]
    elif verb == "predict":
        base = [verb, place / "model", place / "nut"]
    else:
        base = [verb, place / "model", "--data", place / "nut"]
    out = [] if verb == "drift" else ["--out", tmp_path / "out"]

    small = run(*base, *rest, *out, "--max-megapixels", 0.001)
    assert small.code != 0
    advised = set(re.findall(r"--[a-z-]+", small.err))
    assert "--max-megapixels" in advised
    assert advised <= options_of(verb)

    few = run(*base, *rest, *out, "--significant-bits", 10)
    assert few.code != 0
    assert "--significant-bits" in few.err

    wrong = run(*base, *rest, *out, "--significant-bits", 11)
    assert wrong.code == 2
    assert "--significant-bits 11" in wrong.err

    right = run(*base, *rest, *out, "--max-megapixels", 1, "--significant-bits", 12)
    # Drift is what the untrained model's scores show.
    assert right.code == 0 or (verb == "drift" and "do not fit" not in right.err), right.err


@pytest.mark.parametrize("verb", ["train", "synthesize"])
def test_bad_files_are_left_out_at_training_too(
    run: Run, place: Path, tmp_path: Path, verb: str
) -> None:
    folder = tmp_path / "nut"
    folder.mkdir()
    for path in (place / "nut/train/good").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "x.png").write_bytes(b"text")
    amount = ("--steps", 1) if verb == "train" else ("--count", 1)
    command = (verb, "--data", folder, "--out", tmp_path / "out", *amount, *TINY)
    refused = run(*command, "--set", "training.batch_size=2")
    assert refused.code == 2
    assert "--skip-bad-files" in refused.err
    assert run(*command, "--set", "training.batch_size=2", "--skip-bad-files").code == 1


def test_the_same_files_give_other_scores_with_their_bits(place: Path) -> None:
    path = place / "nut/test/good/0.png"
    dim = Inspector(place / "model").inspect(path)
    right = Inspector(place / "model", reading=Reading(significant_bits=12)).inspect(path)
    assert dim.image.max() <= 16
    assert right.image.max() == 255


def test_the_archive_keeps_to_its_reading(run: Run, place: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    command = ("predict", place / "model", place / "nut", "--out", tmp_path, "--format", "parquet")
    first = run(*command, "--significant-bits", 12, "--json")
    assert (first.code, json.loads(first.out)["unreadable"]) == (0, 0), first.err
    other = run(*command, "--significant-bits", 14)
    assert other.code == 2
    assert "reading" in other.err


@pytest.mark.parametrize("verb", COMMANDS)
def test_what_needs_less_memory(verb: str) -> None:
    names = inspect.signature(COMMANDS[verb].callback).parameters
    advised = re.findall(r"--[a-z-]+", _one_line(MemoryError(), names))
    assert set(advised) <= options_of(verb)
