"""What the project's requirements have brought into this environment."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
CORE: Final = "core"
RUNTIME: Final = (CORE, "export", "parquet", "serve")
"""What a user installs; the rest is for development."""

_PROJECT = "omnial"
_APART = frozenset({"fuzz", "ray"})
"""Extras that `make setup` does not install."""


def named() -> dict[str, list[Requirement]]:
    """The requirements that pyproject.toml names: those of omnial itself, and of each extra.

    Extras that `make setup` does not install are left out: no environment need have them.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {CORE: project["dependencies"], **project["optional-dependencies"]}
    return {
        group: [one for one in map(Requirement, lines) if one.name != _PROJECT]
        for group, lines in groups.items()
        if group not in _APART
    }


def closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Installed packages that requirements need, directly or not, by canonical name.

    Raises:
        PackageNotFoundError: One is not installed.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = distribution(wanted.name)
            needs = map(Requirement, found[name].requires or ())
            waiting += [
                one for one in needs if one.marker is None or one.marker.evaluate({"extra": extra})
            ]
    return found


def by_group() -> dict[str, dict[str, Distribution]]:
    """Packages of each group that no earlier group has: core, export, serve, then the others."""
    groups = named()
    earlier: set[str] = set()
    parted = {}
    for group in (*RUNTIME, *(name for name in groups if name not in RUNTIME)):
        packages = closure(groups[group])
        parted[group] = {name: packages[name] for name in sorted(packages.keys() - earlier)}
        earlier |= packages.keys()
    return parted
