"""The table of settings: complete, and the same in the documentation."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from omnial.config.presets import SIZES, SYSTEMS
from omnial.config.reference import entries
from omnial.config.settings import Reading, Settings
from tools.settings_table import settings_table, with_settings_table

DOCS = Path(__file__).parents[2] / "docs"


def leaf_paths(model: BaseModel, above: str = "") -> list[str]:
    """Every setting's path, from the values rather than from the schema."""
    paths: list[str] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        here = f"{above}{name}"
        if isinstance(value, BaseModel):
            paths += leaf_paths(value, f"{here}.")
        elif value and isinstance(value, tuple) and isinstance(value[0], BaseModel):
            for number, item in enumerate(value):
                paths += leaf_paths(item, f"{here}.{number}.")
        else:
            paths.append(here)
    return paths


def test_every_setting_is_listed_once() -> None:
    listed = [entry.path for entry in entries()]

    assert sorted(listed) == sorted(leaf_paths(Settings()))


def test_every_setting_says_what_it_takes() -> None:
    assert [entry.path for entry in entries() if not entry.allowed] == []


def test_every_setting_is_described() -> None:
    assert [entry.path for entry in entries() if not entry.description] == []


def test_the_documentation_shows_the_settings_as_they_are() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")

    assert settings_table() in page, "run `make docs`"


@pytest.mark.parametrize("name", [*SYSTEMS, *SIZES])
def test_the_documentation_names_systems_and_sizes(name: str) -> None:
    assert f"| `{name}` |" in (DOCS / "configuration.md").read_text("utf-8")


def test_the_table_is_put_between_the_markers() -> None:
    page = "before\n<!-- settings: begin -->\nSTALE\n<!-- settings: end -->\nafter\n"

    written = with_settings_table(page)

    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "STALE" not in written
    assert with_settings_table(written) == written


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="begin"):
        with_settings_table("no markers")


def test_every_setting_says_where_its_default_comes_from() -> None:
    untagged = [e.path for e in entries() if not re.search(r"\[(P|S|O)[,\]]", e.description)]
    assert not untagged
    assert all(
        re.search(r"\[O\]", field.description or "") for field in Reading.model_fields.values()
    )
