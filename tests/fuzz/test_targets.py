"""The fuzz targets hold for what the search begins with, and for what once crashed them."""

import importlib
import pkgutil
import sys
from base64 import b64decode
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
sys.path.append(str(_ROOT))

TARGETS = sorted(
    module.name
    for module in pkgutil.iter_modules([str(_ROOT / "tools/fuzz")])
    if not module.name.startswith("_")
)
FOUND = (
    # A zero byte in the name of a form's character set.
    ("http_api", "LwAAAEcNChoKAAAADUlIRFIAAAAoAAAAGAgCAAAAB+YolwAAAABJAQAAAAAAABw="),
)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    module = importlib.import_module(f"tools.fuzz.{name}")
    seeds = list(module.seeds())
    assert len(seeds) >= 5
    for seed in seeds:
        module.target(seed)


@pytest.mark.parametrize(("name", "content"), FOUND)
def test_what_was_found_is_mended(name: str, content: str) -> None:
    importlib.import_module(f"tools.fuzz.{name}").target(b64decode(content))
