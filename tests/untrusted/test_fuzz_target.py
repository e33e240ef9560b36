"""The fuzz target for downloaded folders is worth its time: what it begins with is accepted."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from omnial.errors import UserError

TARGET = Path(__file__).parents[2] / "tools/fuzz/model_folder.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_folder", TARGET)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_seeds_are_read_to_the_end(fuzz: ModuleType) -> None:
    for reader, seed in zip(fuzz._READERS.values(), fuzz.seeds(), strict=True):
        reader(seed[1:])


def test_what_is_damaged_is_refused(fuzz: ModuleType) -> None:
    for reader, seed in zip(fuzz._READERS.values(), fuzz.seeds(), strict=True):
        with pytest.raises(UserError):
            reader(seed[1 : len(seed) // 2])


def test_some_mutations(fuzz: ModuleType) -> None:
    """Nothing but refusals; a fuzzer goes on from here."""
    draw = random.Random(5)
    for seed in fuzz.seeds():
        for _ in range(8):
            data = bytearray(seed)
            for _ in range(draw.randint(1, 3)):
                data[draw.randrange(1, len(data))] = draw.randrange(256)
            fuzz.target(bytes(data))
