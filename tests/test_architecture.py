"""Imports point one way, and what must run without PyTorch does not import it."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import omnial

SOURCE = Path(omnial.__file__).parent
TABLE = (Path(__file__).parents[1] / "docs/architecture.md").read_text("utf-8")
# Each may import those below it.
ORDER = tuple(
    name
    for row in re.findall(r"^\| (`.*?) \|", TABLE.partition("\n## ")[0], re.MULTILINE)
    for name in re.findall(r"`(\w+)`", row)
)


def imports(path: Path) -> set[str]:
    """Packages of this project that a file imports anywhere in its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "omnial" and len(parts) > 1:
                found.add(parts[1])
    return found


def files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__main__":
        return
    above = set(ORDER[: ORDER.index(own)])
    assert not imports(path) & above, f"{path} imports upwards"


def test_no_file_name_stands_for_two_things() -> None:
    names = Counter(path.name for path in files() if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_every_package_has_a_place() -> None:
    own = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in files()}
    assert own - {"__main__"} == set(ORDER)


LINE_COMPUTER = (
    "omnial",
    "omnial.models.thresholds",
    "omnial.models.recogniser",
    "omnial.data.cache",
    "omnial.data.checks",
    "omnial.data.decode",
    "omnial.data.layouts",
    "omnial.calibration.calibrate_folder",
    "omnial.calibration.drift",
    "omnial.inference.inspector",
    "omnial.inference.outlines",
    "omnial.inference.overlay",
    "omnial.inference.verify",
    "omnial.reporting.prediction_report",
    "omnial.watching.watcher",
    "omnial.serving.app",
)
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, f"{name} imports PyTorch"
"""


def test_the_line_computer_needs_no_pytorch() -> None:
    command = [sys.executable, "-c", IMPORT, *LINE_COMPUTER]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
