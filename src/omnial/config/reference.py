"""What each setting takes, in words: for error messages and for the documentation's table.

`python -m omnial.config.reference docs/configuration.md` writes the table into a page again.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from omnial.config.settings import Settings

Schema: TypeAlias = Mapping[str, Any]
SettingPath: TypeAlias = Sequence[str | int]

_MARKERS: Final = ("<!-- settings: begin -->", "<!-- settings: end -->")


class Entry(NamedTuple):
    """One setting: its dotted path, default, allowed values and description."""

    path: str
    default: object
    allowed: str
    description: str


def dotted(path: SettingPath) -> str:
    """Join a path: `("synthesis", "levels", 0, "blur")` is `synthesis.levels.0.blur`."""
    return ".".join(str(part) for part in path)


def schema_at(path: SettingPath) -> Schema | None:
    """Find the JSON schema of a setting or of a group of settings; None where there is none."""
    node: Schema = _resolve(_settings_schema())
    for part in path:
        if isinstance(part, int):
            fixed: Sequence[Schema] = node.get("prefixItems", ())
            below = fixed[part] if part < len(fixed) else node.get("items")
        else:
            below = node.get("properties", {}).get(part)
        if below is None:
            return None
        node = _resolve(below)
    return node


def keys_at(path: SettingPath) -> tuple[str, ...]:
    """Return the keys of a group of settings, none for a single value."""
    return tuple(((schema_at(path) or {}).get("properties") or {}).keys())


def describe(schema: Schema) -> str:
    """Say which values a schema allows, for example `a whole number of at least 1`."""
    schema = _resolve(schema)
    if "anyOf" in schema:
        return " or ".join(describe(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    match schema.get("type"):
        case "object":
            return "a group of settings: " + ", ".join(schema["properties"])
        case "array":
            return _describe_list(schema)
        case "boolean":
            return "true or false"
        case "integer" | "number":
            noun = "a whole number" if schema["type"] == "integer" else "a number"
            return f"{noun}{_describe_range(schema)}"
        case "null":
            return "null"
        case _:
            return "a path" if schema.get("format") == "path" else "text"


def entries() -> Iterator[Entry]:
    """Go through every setting in the order of `Settings`."""
    yield from _entries(_settings_schema(), ())


def settings_table() -> str:
    """Write the table of all settings in Markdown, a heading and a table for each group."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries():
        groups.setdefault(entry.path.rpartition(".")[0], []).append(entry)
    blocks = []
    for group, members in groups.items():
        rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
        for entry in members:
            # Levels are three groups of their own and have no default to print in a cell.
            default = "" if entry.default is None else f"`{json.dumps(entry.default)}`"
            rows.append(f"| `{entry.path}` | {default} | {entry.allowed} | {entry.description} |")
        heading = f"### `{group}`" if group else "### Top level"
        blocks.append("\n".join([heading, "", *rows]))
    return "\n\n".join(blocks)


def with_settings_table(page: str) -> str:
    """Return a Markdown page with the part between its two markers replaced by the table.

    Raises:
        ValueError: the page lacks one of the markers.
    """
    begin, end = _MARKERS
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page needs the lines {begin} and {end}")
    return f"{before}{begin}\n{settings_table()}\n{end}{after}"


@cache
def _settings_schema() -> Schema:
    return Settings.model_json_schema()


def _resolve(schema: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Schema = _settings_schema()["$defs"][reference.rpartition("/")[2]]
    return target


_BOUNDS: Final = (
    ("minimum", "of at least"),
    ("exclusiveMinimum", "above"),
    ("maximum", "of at most"),
    ("exclusiveMaximum", "below"),
)


def _describe_range(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:g}"
    bounds = [
        f"{word} {schema[key]:,}".removesuffix(".0") for key, word in _BOUNDS if key in schema
    ]
    return " " + " and ".join(bounds) if bounds else ""


def _describe_list(schema: Schema) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    fixed: Sequence[Schema] = schema.get("prefixItems", ())
    members = dict.fromkeys(describe(item) for item in (fixed or (schema["items"],)))
    count = f"{least}" if least == most else f"{least} to {most}" if most else "any number of"
    return f"a list of {count} values, each {' or '.join(members)}"


def _entries(schema: Schema, path: tuple[str, ...]) -> Iterator[Entry]:
    for key, field in schema.get("properties", {}).items():
        here = (*path, key)
        resolved = _resolve(field)
        item = _resolve(resolved.get("items", {}))
        if resolved.get("type") == "object":
            yield from _entries(resolved, here)
        elif item.get("type") == "object":
            for place, values in enumerate(field["default"]):
                for entry in _entries(item, (*here, str(place))):
                    name = entry.path.rpartition(".")[2]
                    yield entry._replace(default=values[name])
        else:
            description = " ".join(field.get("description", "").split())
            yield Entry(dotted(here), field.get("default"), describe(field), description)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(with_settings_table(page.read_text("utf-8")), "utf-8")
