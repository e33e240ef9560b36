"""Building small data sets on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
