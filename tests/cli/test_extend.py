"""docs/extend.md as it stands there: parts of the user's own, and code that nobody asked for."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import omnial
from omnial.config import own_code
from omnial.config.settings import ModelSettings, SynthesisSettings
from omnial.demo.production_line import generate
from omnial.models.system import build_model
from omnial.sample_random import SampleRandom
from omnial.synthesis.recipe import synthesize

Run = Callable[..., Any]
PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text("utf-8")
FILES = re.findall(r"^```python\n# (my_parts/\w+\.py)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# The page trains for half an hour.
LINES = "".join(BLOCKS).replace("--minutes 30", "--steps 1").splitlines()
COMMANDS = [shlex.split(line) for line in LINES]
SHORT = (
    *("--size", "tiny", "--set", "training.batch_size=2"),
    *("--set", "data.height=64", "--set", "data.width=64"),
)
WRONG = """
import torch
from torch import nn

from omnial.models.system import Output

number = 3


class Narrow(nn.Conv2d):
    def __init__(self, channels, norm):
        super().__init__(channels, 1, 1)


class Lonely(nn.Identity):
    def __init__(self):
        super().__init__()


class Pair(nn.Identity):
    def __init__(self, settings):
        super().__init__()


class Coarse(Pair):
    def forward(self, images):
        return Output(images, None, images[:, :2, ::2, ::2])


def forgetful(images, textures, settings, random):
    return images


def own_everything(images, textures, settings, random):
    return torch.full_like(images, 2.0), torch.ones_like(images[:, :1])
"""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the user types: the page's files, pictures, and after the commands their results."""
    here = tmp_path_factory.mktemp("extend")
    for name, text in (*FILES, ("my_parts/wrong.py", WRONG)):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text, "utf-8")
    generate(here / "parts", seed=1, classes=["gear"], size=64, train=6, test_good=1, per_kind=1)
    shutil.copytree(here / "parts/gear/test/good", here / "new_pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv(own_code.VARIABLE, "")
        yield here
    for name in [name for name in sys.modules if name.startswith("my_parts")]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "_allowed", set())
    monkeypatch.setenv(own_code.VARIABLE, "")


@pytest.fixture(scope="module")
def results(run: Run, folder: Path) -> Path:
    """The folder after all commands of the page."""
    for command in COMMANDS:
        own_code._allowed.clear()
        ended = run(*command[1:], *(SHORT if command[1] == "train" else ()))
        assert ended.code == 0, (command, ended.err)
    return folder


def test_the_commands_of_the_page_work(results: Path) -> None:
    assert len(FILES) == 4
    assert len(COMMANDS) == 7
    for out in ("results", "results_of_the_line"):
        (row,) = (results / out / "predictions.jsonl").read_text("utf-8").splitlines()
        assert json.loads(row)["error"] is None
    settings = json.loads((results / "gated/config.json").read_text("utf-8"))["settings"]
    assert settings["system"] == "my_parts.systems:GATED"
    assert settings["model"]["reconstruction"]["attention"] == "my_parts.attention:Gate"
    gates = [name for name in network_names(results / "gated") if ".gate." in name]
    assert len({name.rpartition(".gate.")[0] for name in gates}) == 7, "3 and 4 modules"


def network_names(model: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", framework="np") as file:
        return list(file.keys())


@pytest.mark.parametrize(
    "command", [("predict", "gated", "new_pictures", "--out", "r"), ("info", "gated")]
)
def test_a_folder_alone_never_causes_an_import(
    run: Run, results: Path, command: tuple[str, ...]
) -> None:
    """Whoever forges a folder can write any name into it."""
    for name in [name for name in sys.modules if name.startswith("my_parts")]:
        del sys.modules[name]

    refused = run(*command)

    assert refused.code == 2
    assert refused.err.startswith("omnial: error: gated: my_parts.attention:Gate is code")
    assert "omnial --code my_parts.attention:Gate" in refused.err
    assert not [name for name in sys.modules if name.startswith("my_parts")]
    assert not (results / "r").exists()
    assert run("--code", "my_parts.attention:Other", *command).code == 2
    with pytest.raises(omnial.UserError, match=r"omnial\.allow_code\('my_parts\.attention:Gate'\)"):
        omnial.Inspector("gated")


def test_python_and_the_environment_can_allow_it(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(own_code.VARIABLE, "other:thing my_parts.attention:Gate")
        by_environment = omnial.Inspector("gated").inspect("new_pictures/000.png")
    omnial.allow_code("my_parts.attention:Gate")
    assert omnial.Inspector("gated").inspect("new_pictures/000.png").score == by_environment.score


def test_attacks_need_the_synthesis_of_the_folder(run: Run, results: Path) -> None:
    """Inspection does not, so a folder with another's synthesis inspects anywhere."""
    command = ("attack", "gated", "--data", "parts", "--samples", 5, "--out", "set")

    refused = run("--code", "my_parts.attention:Gate", *command)

    assert refused.code == 2
    assert "--code my_parts.synthesis:scratches" in refused.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.reconstruction.attention=nowhere.at.all:Gate", "there is no module nowhere.at.all"),
        ("model.reconstruction.attention=my_parts.wrong:Gatee", "no attribute 'Gatee'"),
        ("model.reconstruction.attention=my_parts.wrong:number", "must take (channels, norm)"),
        ("model.reconstruction.attention=my_parts.wrong:Lonely", "must take (channels, norm)"),
        ("model.reconstruction.attention=my_parts.wrong:Narrow", "of (2, 32, 8, 8) it makes (2, 1"),
        ("model.reconstruction.attention=my_parts", "code of your own, package.module:name"),
        ("model.reconstruction.attention=my parts:Gate", "it takes one of none, ca"),
        ("model.network=my_parts.wrong:Pair", "normality=none"),
        ("synthesis.recipe=my_parts.wrong:forgetful", "must give images and masks of [("),
        ("system=my_parts.wrong:number", "must be a dictionary of settings"),
        ("system=my_parts.wrong", "allowed are omnial"),
    ],
)
def test_mistakes_are_the_users(run: Run, setting: str, message: str, tmp_path: Path) -> None:
    ended = run(
        "train", "--data", "parts", "--out", tmp_path / "m", "--steps", 1, *SHORT, "--set", setting
    )
    assert (ended.code, "Traceback" in ended.err) == (2, False)
    assert message in " ".join(ended.err.split())
    assert not (tmp_path / "m/config.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("Pair", "must give an omnial.models.system.Output"), ("Coarse", "its logits must be (2, 2")],
)
def test_a_network_gives_an_output_of_the_right_shapes(name: str, message: str) -> None:
    own_code.allow_code(f"my_parts.wrong:{name}")
    with pytest.raises(omnial.UserError, match=re.escape(message)):
        build_model(ModelSettings(network=f"my_parts.wrong:{name}"))


def test_an_own_recipe_keeps_to_the_share_and_the_region() -> None:
    path = "my_parts.wrong:own_everything"
    own_code.allow_code(path)
    images = torch.full((64, 3, 32, 32), 0.25)
    region = torch.zeros(64, 1, 32, 32, dtype=torch.bool)
    region[..., :16] = True
    settings = SynthesisSettings(recipe=path, anomalous_share=0.5)

    batch = synthesize(images, images, settings, SampleRandom(0, 0, torch.arange(64)), region)

    drawn = batch.mask.amax((1, 2, 3)) > 0
    assert 16 < int(drawn.sum()) < 48
    assert torch.equal(batch.mask, (drawn[:, None, None, None] & region).float())
    expected = torch.where(batch.mask > 0, torch.ones(()), images)
    assert torch.equal(batch.anomalous, expected), "clipped to [0, 1], and unchanged elsewhere"


def test_the_scratches_of_the_page_are_straight_thin_and_repeatable() -> None:
    path = "my_parts.synthesis:scratches"
    own_code.allow_code(path)
    images = torch.full((8, 3, 64, 64), 0.5)
    settings = SynthesisSettings(recipe=path, anomalous_share=1.0)

    first, again = (
        synthesize(images, images, settings, SampleRandom(3, 1, torch.arange(8))) for _ in range(2)
    )

    assert torch.equal(first.anomalous, again.anomalous)
    for mask in first.mask[:, 0].numpy():
        points = np.argwhere(mask > 0)
        if len(points) > 20:
            spread = np.linalg.eigvalsh(np.cov(points.T))
            assert spread[0] < 1.5, "pixels squared, across the scratch"


def test_the_sheet_shows_the_scratches(results: Path) -> None:
    with Image.open(next((results / "sheets").glob("*.png"))) as sheet:
        assert sheet.width > 100
