"""From names, a file and command-line overrides to validated `Settings`."""

import copy
import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from omnial.config import strict_yaml
from omnial.config.presets import DEFAULT_SIZE, DEFAULT_SYSTEM, SIZES, SYSTEMS
from omnial.config.reference import describe, dotted, entries, keys_at, schema_at
from omnial.config.settings import Settings
from omnial.errors import UserError
from omnial.files import StrPath, as_path

SettingPath: TypeAlias = tuple[str | int, ...]

_BUDGETS: Final = ("minutes", "images", "steps")


class _Override(NamedTuple):
    keys: tuple[str, ...]
    value: object
    text: str


def load_settings(
    *,
    system: str | None = None,
    size: str | None = None,
    config_file: StrPath | None = None,
    overrides: str | Iterable[str] = (),
    default_size: str = DEFAULT_SIZE,
) -> Settings:
    """Put the settings of a run together and validate them.

    Later layers win: defaults, the size, the system, the YAML file, the overrides. The file may
    name the system and the size too; the arguments win over it. A layer that sets a budget
    (`training.minutes`, `.images` or `.steps`) replaces the budget of the layers below it.

    Args:
        system: name from `SYSTEMS`; None takes the file's, else `omnial`.
        size: name from `SIZES`; None takes the file's, else `default_size`.
        config_file: YAML file with settings, nested as `Settings` is.
        overrides: `a.b=value`, each value read as YAML; list positions are numbers, as in
            `synthesis.levels.0.blur=3`.
        default_size: the size where nothing names one.

    Raises:
        UserError: an unreadable file, an unknown name or key, an impossible value; the message
            names the setting's path, where the value stands, and what is allowed.
        TypeError: an argument is of another kind.
    """
    config_file = None if config_file is None else as_path(config_file, "config_file")
    from_file = {} if config_file is None else _read_file(config_file)
    texts = [overrides] if isinstance(overrides, str) else list(overrides)
    parsed = [_parse_override(text) for text in texts]
    chosen_system = _choose("system", system, parsed, from_file, DEFAULT_SYSTEM, SYSTEMS)
    chosen_size = _choose("size", size, parsed, from_file, default_size, SIZES)

    tree: dict[str, Any] = Settings().model_dump(mode="json")
    origins: dict[SettingPath, str] = {}
    for layer in (SIZES[chosen_size], SYSTEMS[chosen_system]):
        _merge(tree, layer)
    if config_file is not None:
        _replace_budget(tree, from_file)
        _merge(tree, from_file)
        origins |= dict.fromkeys(_paths(from_file), f"in {config_file}")
    if any(_sets_budget(override) for override in parsed):
        _clear_budget(tree)
    for override in parsed:
        path = _apply(tree, override)
        origins |= {path[:n]: "from the command line" for n in range(1, len(path) + 1)}
    tree |= {"system": chosen_system, "size": chosen_size}
    return _validate(tree, origins)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(strict_yaml.MAX_CHARACTERS + 1)
        content = strict_yaml.parse(text)
    except OSError as error:
        raise UserError(
            f"cannot read the configuration file {path}: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"the configuration file {path} is not UTF-8 text") from error
    except ValueError as error:
        raise UserError(f"the configuration file {path} is not usable: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(
            f"the configuration file {path} must hold settings as `key: value`, "
            f"not {_kind(content)}"
        )
    return content


def _parse_override(text: str) -> _Override:
    if not isinstance(text, str):
        raise TypeError(f"an override is a text as key=value, not {type(text).__name__}")
    key, separator, value = text.partition("=")
    keys = tuple(key.strip().split("."))
    if not separator or not all(keys):
        raise UserError(f"--set {text}: write it as key=value, for example training.batch_size=8")
    try:
        return _Override(keys, strict_yaml.parse(value), text)
    except ValueError as error:
        raise UserError(f"--set {text}: the value is not YAML: {error}") from error


def _choose(
    key: str,
    argument: str | None,
    overrides: Iterable[_Override],
    from_file: Mapping[str, object],
    default: str,
    allowed: Mapping[str, object],
) -> str:
    """Pick a system or a size by name: argument and `--set` first, then the file."""
    set_values = [override.value for override in overrides if override.keys == (key,)]
    if argument is not None and any(value != argument for value in set_values):
        raise UserError(f"--{key} {argument} and --set {key}={set_values[-1]}: give one of the two")
    candidates = [argument, *reversed(set_values), from_file.get(key), default]
    name = next(value for value in candidates if value is not None)
    if not isinstance(name, str) or name not in allowed:
        hint = _did_you_mean(str(name), allowed)
        raise UserError(f"{key}: {name!r} is unknown{hint or '; '}allowed are {', '.join(allowed)}")
    return name


def _merge(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            # A copy: overrides write into the tree, and a layer may be a table of presets.
            target[key] = copy.deepcopy(value)


def _paths(layer: Mapping[str, Any], above: SettingPath = ()) -> Iterable[SettingPath]:
    for key, value in layer.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, key))


def _replace_budget(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    training = layer.get("training")
    if isinstance(training, Mapping) and any(training.get(key) is not None for key in _BUDGETS):
        _clear_budget(tree)


def _sets_budget(override: _Override) -> bool:
    section, *rest = override.keys
    return section == "training" and rest in [[key] for key in _BUDGETS]


def _clear_budget(tree: dict[str, Any]) -> None:
    if isinstance(tree["training"], dict):
        tree["training"] |= dict.fromkeys(_BUDGETS)


def _apply(tree: dict[str, Any], override: _Override) -> SettingPath:
    """Set one value and return its path, with list positions as numbers."""
    path: list[str | int] = []
    node: Any = tree
    for place, key in enumerate(override.keys):
        step: str | int = key
        if isinstance(node, list):
            if key not in map(str, range(len(node))):
                raise UserError(
                    f"--set {override.text}: {dotted(path)} is a list of {len(node)}, "
                    f"its places are 0 to {len(node) - 1}, not {key!r}"
                )
            step = int(key)
        elif not isinstance(node, dict):
            raise UserError(f"--set {override.text}: {dotted(path)} is a value without parts")
        path.append(step)
        if place == len(override.keys) - 1:
            node[step] = override.value
        else:
            if isinstance(node, dict):
                node.setdefault(step, {})
            node = node[step]
    return tuple(path)


def _validate(tree: dict[str, Any], origins: Mapping[SettingPath, str]) -> Settings:
    try:
        # As JSON, in which a list may be a tuple but `true` is no number.
        return Settings.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        lines = [_explain(detail, origins) for detail in error.errors(include_url=False)]
    if len(lines) == 1:
        raise UserError(lines[0])
    raise UserError("\n  ".join([f"{len(lines)} settings are not usable:", *lines]))


def _explain(detail: ErrorDetails, origins: Mapping[SettingPath, str]) -> str:
    path: SettingPath = detail["loc"]
    if detail["type"] == "extra_forbidden":
        *above, key = path
        siblings = keys_at(above)
        hint = _did_you_mean(str(key), siblings) or _elsewhere(str(key))
        group = dotted(above) if above else "the top level"
        return (
            f"{dotted(path)}{_where(path, origins)}: unknown setting{hint or '; '}"
            f"{group} takes {', '.join(siblings)}"
        )
    if detail["type"] == "value_error":
        return f"{dotted(path)}{_where(path, origins)}: {detail['ctx']['error']}"
    schema = schema_at(path)
    allowed = "" if schema is None else f"; it takes {describe(schema)}"
    missing = detail["type"] == "missing"
    problem = "is missing" if missing else f"{_show(detail['input'])} is not allowed"
    return f"{dotted(path)}{_where(path, origins)}: {problem}{allowed}"


def _where(path: SettingPath, origins: Mapping[SettingPath, str]) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return f" ({origins[path[:length]]})"
    return ""


def _did_you_mean(word: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {close[0]!r}? " if close else ""


def _elsewhere(key: str) -> str:
    """Suggest the full path of a key that stands in another group."""
    paths = [entry.path for entry in entries() if entry.path.rpartition(".")[2] == key]
    return f"; did you mean {' or '.join(repr(path) for path in paths)}? " if paths else ""


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the single value {_show(value)}"
