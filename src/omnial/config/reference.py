"""What each setting takes, in words: for error messages and for the documentation's table."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from omnial.config.settings import Settings

Schema: TypeAlias = Mapping[str, Any]

_BOUNDS: Final = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}

_FORMATS: Final = {"path": "a path", "import-path": "code of your own, package.module:name"}


class Entry(NamedTuple):
    """One setting: its dotted path, default, allowed values and description."""

    path: str
    default: object
    allowed: str
    description: str


def dotted(path: Sequence[str | int]) -> str:
    """Join a path: `("synthesis", "levels", 0, "blur")` is `synthesis.levels.0.blur`."""
    return ".".join(str(part) for part in path)


def schema_at(path: Sequence[str | int]) -> Schema | None:
    """The JSON schema of a setting or of a group of settings; None where there is none."""
    node = _settings_schema()
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


def describe(schema: Schema) -> str:
    """The values that a schema allows, for example `a whole number of at least 1`."""
    schema = _resolve(schema)
    if "anyOf" in schema:
        return " or ".join(describe(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    match schema.get("type"):
        case "object":
            return "a group of settings: " + ", ".join(schema["properties"])
        case "array":
            least, most = schema.get("minItems", 0), schema.get("maxItems")
            fixed = schema.get("prefixItems") or [schema["items"]]
            members = " or ".join(dict.fromkeys(describe(item) for item in fixed))
            count = (
                f"{least}" if least == most else f"{least} to {most}" if most else "any number of"
            )
            return f"a list of {count} values, each {members}"
        case "boolean":
            return "true or false"
        case "integer":
            return f"a whole number{_describe_range(schema)}"
        case "number":
            return f"a number{_describe_range(schema)}"
        case "null":
            return "null"
        case _:
            return _FORMATS.get(schema.get("format", ""), "text")


def _describe_range(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:g}"
    bounds = [
        f"{word} {schema[key]:,}".removesuffix(".0")
        for key, word in _BOUNDS.items()
        if key in schema
    ]
    return " " + " and ".join(bounds) if bounds else ""


def entries(group: Schema | None = None, above: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Every setting, or every one of a group, in the order of `Settings`."""
    schema = _settings_schema() if group is None else group
    for key, field in schema.get("properties", {}).items():
        here = (*above, key)
        resolved = _resolve(field)
        item = _resolve(resolved.get("items", {}))
        if resolved.get("type") == "object":
            yield from entries(resolved, here)
        elif item.get("type") == "object":
            for number, values in enumerate(field["default"]):
                for entry in entries(item, (*here, str(number))):
                    yield entry._replace(default=values[entry.path.rpartition(".")[2]])
        else:
            description = " ".join(field.get("description", "").split())
            yield Entry(dotted(here), field.get("default"), describe(field), description)


@cache
def _settings_schema() -> Schema:
    return Settings.model_json_schema()


def _resolve(schema: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Schema = _settings_schema()["$defs"][reference.rpartition("/")[2]]
    return target
