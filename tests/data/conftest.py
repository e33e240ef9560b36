"""Building small data sets on disk, and watching what is decoded."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.data import cache, decode

SIZE = (8, 12)
"""Height and width of the images."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write grey images at paths below `tmp_path`; returns it."""

    def write_images(*names: str, value: int = 90, size: tuple[int, int] = SIZE) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)
        return tmp_path

    return write_images


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder; nothing is in it yet."""
    monkeypatch.setenv(cache.LOCATION, str(tmp_path / "cache"))
    return tmp_path / "cache" / "inputs"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often a file is decoded, by its name."""
    counts: Counter[str] = Counter()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *rest: Any) -> Any:
            counts[path.name] += 1
            return function(path, *rest)

        return call

    for name in ("network_input", "read_rgb", "read_mask"):
        monkeypatch.setattr(cache, name, counting(getattr(decode, name)))
    return counts
