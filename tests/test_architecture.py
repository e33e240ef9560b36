"""Imports point one way, and what must run without PyTorch does not import it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import omnial

SOURCE = Path(omnial.__file__).parent
# Each may import those below it.
ORDER = (
    "cli",
    "studies",
    "demo",
    "serving",
    "reporting",
    "batch",
    "export",
    "calibration",
    "robustness",
    "evaluation",
    "inference",
    "training",
    "attacks",
    "model_folder",
    "models",
    "synthesis",
    "metrics",
    "data",
    "config",
    "distributed",
    "filters",
    "sample_random",
    "files",
    "memory",
    "machine",
    "untrusted",
    "progress",
    "errors",
    "_version",
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


def test_every_package_has_a_place() -> None:
    own = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in files()}
    assert own - {"__main__"} == set(ORDER)


@pytest.mark.parametrize(
    "module",
    [
        "omnial.models.thresholds",
        "omnial.models.recogniser",
        "omnial.data.cache",
        "omnial.data.checks",
        "omnial.data.decode",
        "omnial.data.layouts",
        "omnial.calibration.calibrate",
        "omnial.calibration.drift",
        "omnial.inference.inspector",
        "omnial.inference.outlines",
        "omnial.inference.overlay",
        "omnial.inference.predictor",
        "omnial.inference.verify",
        "omnial.serving.server",
    ],
)
def test_the_line_computer_needs_no_pytorch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
