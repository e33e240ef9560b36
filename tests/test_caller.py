"""Training, evaluating and inspecting leave the program that asks for it as it was."""

import subprocess
import sys
from pathlib import Path

from omnial.demo.production_line import generate

# In a process of its own: what is imported first plays a part.
PROGRAM = """
import multiprocessing, os, random, signal, sys
from pathlib import Path

import numpy as np
import torch


def state():
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "default": (torch.get_default_dtype(), torch.is_grad_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "signals": {number: signal.getsignal(number) for number in (2, 15)},
    }


def check(what):
    changed = [name for name, value in state().items() if value != before[name]]
    assert not changed, f"{what} changes {changed}"


before = state()
import omnial

folder = Path(sys.argv[1])
settings = omnial.load_settings(
    size="tiny",
    overrides=["data.height=32", "data.width=32", "training.batch_size=2", "training.steps=2",
               "training.precision=fp32", "model.stem=4"],
)
check("load_settings")
omnial.train([folder / "data"], folder / "model", settings, progress=False)
check("train")
omnial.load_model(folder / "model")
check("load_model")
omnial.evaluate(folder / "model", [folder / "data"], folder / "report")
check("evaluate")
inspector = omnial.Inspector(folder / "model")
check("Inspector")
images = sorted((folder / "data").rglob("test/*/*.png"))
inspector.inspect(images[0])
list(inspector.inspect(images))
check("inspect")
omnial.predict(inspector, images, out=folder / "results")
check("predict")
"""


def test_no_verb_changes_the_caller(tmp_path: Path) -> None:
    generate(tmp_path / "data", seed=1, classes=["tile"], size=64, train=6, test_good=1, per_kind=1)

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True
    )

    assert ended.returncode == 0, ended.stderr
