"""Names that are made to mislead whoever reads them in a terminal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nomnial: all is well", "\u202egnp", "\udcff"])
def test_a_bad_file_is_named_on_one_printable_line(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "nut").mkdir()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "nut/0.png")
    (tmp_path / f"nut/{name}.png").write_bytes(b"no image")

    ended = run("synthesize", "--data", tmp_path, "--out", tmp_path / "out")

    assert ended.code == 2
    assert "1 of 2 images cannot be used" in ended.err
    line = ended.err.splitlines()[-1]
    assert line.isprintable()
    assert line.startswith(f"  {tmp_path / 'nut'}")
    assert "is not a PNG" in line
    assert name not in ended.err


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000])
@pytest.mark.parametrize("option", ["--data", "--out"])
def test_a_path_that_is_too_long(run: Run, tmp_path: Path, option: str, name: str) -> None:
    (tmp_path / "nut").mkdir()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "nut/0.png")
    given = {"--data": tmp_path, "--out": tmp_path / "out", option: tmp_path / name}

    ended = run("synthesize", "--data", given["--data"], "--out", given["--out"])

    assert ended.code == 2
    assert "Traceback" not in ended.err
