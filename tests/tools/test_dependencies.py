"""What omnial depends on: which releases, under which licences, and the lists of both."""

import json
import re
from email.message import Message
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import audit, installed, licences, sbom

# Uploads of that package's thieves, not of its makers (GHSA-w37p-236h-pfx3).
MALICIOUS = {"lightning": ("2.6.2", "2.6.3")}
FILES = ("requirements-line.txt", "requirements-serve.txt")
NAMED = {
    canonicalize_name(one.name): (group, one)
    for group, requirements in installed.named().items()
    for one in requirements
}


def lines(name: str) -> dict[str, Requirement]:
    """What a requirements file names itself."""
    texts = (installed.ROOT / name).read_text("utf-8").splitlines()
    found = [Requirement(text) for text in texts if text and text[0] not in "#-"]
    return {canonicalize_name(one.name): one for one in found}


class Package:
    """A distribution with some metadata."""

    def __init__(self, **metadata: str) -> None:
        self.metadata = Message()
        for key, value in metadata.items():
            self.metadata[key.replace("_", "-")] = value


def test_malicious_releases_are_excluded() -> None:
    for name, versions in MALICIOUS.items():
        group, requirement = NAMED[name]
        assert group == installed.CORE
        assert not [version for version in versions if version in requirement.specifier]
        assert installed.closure([requirement])[name].version in requirement.specifier


@pytest.mark.parametrize("name", FILES)
def test_requirement_files_ask_for_the_same_releases(name: str) -> None:
    for package, requirement in lines(name).items():
        assert requirement.specifier == NAMED[package][1].specifier, package


def test_the_service_without_pytorch_gets_all_of_its_extra() -> None:
    assert lines("requirements-serve.txt").keys() == {
        package for package, (group, _) in NAMED.items() if group == "serve"
    }


def test_the_page_of_licences_names_every_dependency() -> None:
    page = licences.PAGE.read_text("utf-8")
    listed = dict(re.findall(r"^\| \*\*([a-z0-9-]+)\*\* \| (.+) \|$", page, re.MULTILINE))
    assert listed.keys() == NAMED.keys()
    assert all(map(licences.is_allowed, listed.values()))


def test_what_a_user_installs_has_an_allowed_licence() -> None:
    groups = installed.by_group()
    packages = {name: one for group in installed.RUNTIME for name, one in groups[group].items()}
    assert {"lightning", "mpmath", "openvino-telemetry", "h11"} <= packages.keys()
    assert "pytest" not in packages
    refused = {
        name: licences.licence(one)
        for name, one in packages.items()
        if not licences.is_cuda(name) and not licences.is_allowed(licences.licence(one))
    }
    assert refused == {}


@pytest.mark.parametrize(
    ("metadata", "text", "allowed"),
    [
        ({"License_Expression": "MIT AND MPL-2.0"}, "MIT AND MPL-2.0", True),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, "MIT AND GPL-3.0-only", False),
        (
            {"License_Expression": "(MIT OR Apache-2.0) AND BSD-2-Clause"},
            "(MIT OR Apache-2.0) AND BSD-2-Clause",
            True,
        ),
        ({"License": "apache-2.0"}, "Apache-2.0", True),
        (
            {
                "License": "All the text,\nline by line.",
                "Classifier": "License :: OSI Approved :: BSD License",
            },
            "BSD License",
            True,
        ),
        (
            {"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"},
            "GNU Affero General Public License v3",
            False,
        ),
        ({"License": "All rights reserved"}, "All rights reserved", False),
        ({}, licences.UNSTATED, False),
    ],
)
def test_reading_a_licence(metadata: dict[str, str], text: str, allowed: bool) -> None:
    package: Any = Package(**metadata)
    assert licences.licence(package) == text
    assert licences.is_allowed(text) is allowed


def test_a_bill_of_materials_without_the_tools_of_development() -> None:
    def component(name: str) -> dict[str, str]:
        return {"name": name, "bom-ref": f"{name}==1"}

    bill = {
        "specVersion": "1.6",
        "metadata": {"component": component("omnial")},
        "components": [component(name) for name in ("PyYAML", "torch", "sympy", "pytest")],
        "dependencies": [
            {"ref": "omnial==1", "dependsOn": ["PyYAML==1", "pytest==1", "torch==1"]},
            {"ref": "torch==1", "dependsOn": ["sympy==1", "pytest==1"]},
            {"ref": "pytest==1", "dependsOn": ["PyYAML==1"]},
            {"ref": "sympy==1"},
        ],
    }
    before = json.dumps(bill)
    reduced = sbom.reduced(bill, {"pyyaml", "torch", "sympy"})

    assert [one["name"] for one in reduced["components"]] == ["PyYAML", "torch", "sympy"]
    assert reduced["dependencies"] == [
        {"ref": "omnial==1", "dependsOn": ["PyYAML==1", "torch==1"]},
        {"ref": "torch==1", "dependsOn": ["sympy==1"]},
        {"ref": "sympy==1", "dependsOn": []},
    ]
    assert reduced["specVersion"] == "1.6"
    assert json.dumps(bill) == before


CLEAN = {"name": "torch", "version": "2.13.0", "vulns": []}
FLAWED = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-0", "fix_versions": ["1.1", "2.0"]}],
}
UNKNOWN = {"name": "torch", "skip_reason": "not found: torch (2.13.0+cpu)"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([CLEAN], 0, ["1 packages looked up, 0 known vulnerabilities"]),
        ([CLEAN, UNKNOWN], 0, ["not looked up: not found: torch (2.13.0+cpu)"]),
        ([CLEAN, FLAWED], 1, ["pillow 1.0: PYSEC-0, mended in 1.1, 2.0"]),
        # What pip-audit itself calls clean.
        ([UNKNOWN], 2, ["could not be asked"]),
        ([], 2, ["could not be asked"]),
    ],
)
def test_an_audit_that_asked_nobody_is_no_clean_one(
    packages: list[dict[str, Any]], code: int, words: list[str]
) -> None:
    ended, explained = audit.verdict(packages)
    assert ended == code
    assert all(any(word in line for line in explained) for word in words)
