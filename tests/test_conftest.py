"""Property tests see the same examples in every run, and others on request."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
DRAWS = """
from hypothesis import given, settings, strategies
drawn = []
@settings(max_examples=20)
@given(strategies.integers(0, 10**12))
def test_draw(number):
    drawn.append(number)
def test_write():
    with open("drawn.txt", "a") as file:
        print(drawn, file=file)
"""


def test_examples_are_the_same_in_every_run_and_others_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(CONFTEST.read_text("utf-8"), "utf-8")
    (tests / "test_drawn.py").write_text(DRAWS, "utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    # Every other plugin takes seconds to start.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ["-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins]
    monkeypatch.delenv("CI", raising=False)
    # Without CI, in which hypothesis has another default, and with it.
    for _ in range(2):
        for options in ([], ["--hypothesis-profile=random"]):
            subprocess.run([*command, *options], cwd=tmp_path, check=True, capture_output=True)
        monkeypatch.setenv("CI", "true")
    first, other, second, another = (tmp_path / "drawn.txt").read_text().splitlines()
    assert first == second
    assert len({first, other, another}) == 3
