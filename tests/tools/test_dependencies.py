"""The packages that omnial depends on: their releases, and the page of their licences."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = ("requirements-line.txt", "requirements-serve.txt")
APART = ("features", "fuzz", "ray")
"""Extras that `make setup` does not install."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def parsed(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one for one in found if one.name != "omnial"}


CORE = parsed(PROJECT["dependencies"])
EXTRAS = {name: parsed(lines) for name, lines in PROJECT["optional-dependencies"].items()}
NAMED = CORE | {
    k: v for name, extra in EXTRAS.items() if name not in APART for k, v in extra.items()
}


def requirements_file(name: str) -> dict[str, Requirement]:
    texts = (ROOT / name).read_text("utf-8").splitlines()
    return parsed([text for text in texts if text and text[0] not in "#-"])


@pytest.mark.parametrize("name", FILES)
def test_requirement_files_ask_for_the_same_releases(name: str) -> None:
    for package, requirement in requirements_file(name).items():
        assert requirement.specifier == NAMED[package].specifier, package


def test_the_service_without_pytorch_gets_all_of_its_extra() -> None:
    assert requirements_file("requirements-serve.txt").keys() == EXTRAS["serve"].keys()


def test_the_page_of_licences_names_every_dependency() -> None:
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    listed = {canonicalize_name(n) for n in re.findall(r"^\| ([\w.-]+) +\| ", page, re.MULTILINE)}
    assert NAMED.keys() <= listed
    assert "UNKNOWN" not in page
