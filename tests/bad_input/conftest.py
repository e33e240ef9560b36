"""The corpus on disk, once."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from tests.bad_input.corpus import write_corpus
from tests.bad_input.forge import picture, save


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of MVTec AD whose training images are the hostile files and two sound ones."""
    good = tmp_path_factory.mktemp("data") / "nut/train/good"
    write_corpus(good)
    for name in ("0000.png", "zzzz.png"):
        (good / name).write_bytes(save(picture(), "PNG"))
    return good
