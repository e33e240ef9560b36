"""docs/commands.md names every verb and every option, and no others."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from omnial.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]  # a group of verbs


def test_every_verb_has_its_section() -> None:
    assert set(COMMANDS) <= set(SECTIONS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_is_named(verb: str) -> None:
    options = {
        name
        for parameter in COMMANDS[verb].params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--") and name != "--help"
    }
    synopsis = set(
        re.findall(
            r"--[a-z][a-z-]*", "".join(re.findall(r"^    .*$", SECTIONS[verb], re.MULTILINE))
        )
    )

    assert synopsis == options


def test_packages_are_installed_from_the_clone_and_the_command_is_found() -> None:
    """The project is in no index, where another could take its name; .venv is not on the PATH."""
    root = Path(__file__).parents[2]
    pages = [root / "README.md", root / "SECURITY.md", *(root / "docs").rglob("*.md")]
    sources = [*(root / "src").rglob("*.py"), root / "Containerfile"]
    wrong = [path for path in (*pages, *sources) if "install 'omnial" in path.read_text("utf-8")]
    assert wrong == []
    assert ". venv/bin/activate" in (root / "README.md").read_text("utf-8")
    assert ". .venv/bin/activate" in (root / "Makefile").read_text("utf-8")
