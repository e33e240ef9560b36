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
from omnial.config.reference import describe, dotted, entries, schema_at
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
    from_file = {} if config_file is None else _read_file(as_path(config_file, "config_file"))
    texts = [overrides] if isinstance(overrides, str) else list(overrides)
    parsed = [_parse_override(text) for text in texts]
    chosen_system = _choose("system", system, parsed, from_file, DEFAULT_SYSTEM, SYSTEMS)
    chosen_size = _choose("size", size, parsed, from_file, default_size, SIZES)

    tree: dict[str, Any] = Settings().model_dump(mode="json")
    # A copy: overrides write into the tree, also into the lists of a preset.
    for path, value in copy.deepcopy({**SIZES[chosen_size], **SYSTEMS[chosen_system]}).items():
        _apply(tree, _Override(tuple(path.split(".")), value, path))
    training = from_file.get("training")
    if isinstance(training, dict) and any(training.get(key) is not None for key in _BUDGETS):
        _clear_budget(tree)
    origins = dict.fromkeys(_merge(tree, from_file), f"in {config_file}")
    if any(override.keys in [("training", key) for key in _BUDGETS] for override in parsed):
        _clear_budget(tree)
    for override in parsed:
        changed = _apply(tree, override)
        origins |= {changed[:n]: "from the command line" for n in range(1, len(changed) + 1)}
    tree |= {"system": chosen_system, "size": chosen_size}
    try:
        # As JSON, in which a list may be a tuple but `true` is no number.
        return Settings.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        lines = [_explain(detail, origins) for detail in error.errors(include_url=False)]
    if len(lines) > 1:
        lines.insert(0, f"{len(lines)} settings are not usable:")
    raise UserError("\n  ".join(lines))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            content = strict_yaml.parse(file.read(strict_yaml.MAX_CHARACTERS + 1))
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
        kind = "a list" if isinstance(content, list) else f"the single value {_show(content)}"
        raise UserError(
            f"the configuration file {path} must hold settings as `key: value`, not {kind}"
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
        raise UserError(f"{key}: {name!r} is unknown{hint}allowed are {', '.join(allowed)}")
    return name


def _clear_budget(tree: dict[str, Any]) -> None:
    if isinstance(tree["training"], dict):
        tree["training"] |= dict.fromkeys(_BUDGETS)


def _merge(
    tree: dict[str, Any], layer: dict[str, Any], above: SettingPath = ()
) -> list[SettingPath]:
    """Lay settings over those in the tree, and return their paths."""
    paths = []
    for key, value in layer.items():
        paths.append((*above, key))
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            paths += _merge(tree[key], value, paths[-1])
        else:
            tree[key] = value
    return paths


def _apply(tree: dict[str, Any], override: _Override) -> SettingPath:
    """Set one value and return its path, with list positions as numbers."""
    path: SettingPath = ()
    node: Any = tree
    for number, key in enumerate(override.keys, start=1):
        step: str | int = key
        if isinstance(node, list):
            if key not in map(str, range(len(node))):
                raise UserError(
                    f"--set {override.text}: {dotted(path)} is a list of {len(node)}, "
                    f"its positions are 0 to {len(node) - 1}, not {key!r}"
                )
            step = int(key)
        elif not isinstance(node, dict):
            raise UserError(f"--set {override.text}: {dotted(path)} is a value without parts")
        path = (*path, step)
        if number == len(override.keys):
            node[step] = override.value
        else:
            if isinstance(node, dict):
                node.setdefault(step, {})
            node = node[step]
    return path


def _explain(detail: ErrorDetails, origins: Mapping[SettingPath, str]) -> str:
    """Message about one setting: its path, where the value stands, and what is allowed."""
    path: SettingPath = detail["loc"]
    schema = schema_at(path)
    if detail["type"] == "extra_forbidden":
        *above, key = path
        siblings = (schema_at(above) or {}).get("properties", {})
        problem = (
            f"unknown setting{_did_you_mean(str(key), siblings, elsewhere=True)}"
            f"{dotted(above) or 'the top level'} takes {', '.join(siblings)}"
        )
    elif detail["type"] == "value_error":
        problem = str(detail["ctx"]["error"])
    else:
        missing = detail["type"] == "missing"
        problem = "is missing" if missing else f"{_show(detail['input'])} is not allowed"
        problem += f"; it takes {describe(schema)}" if schema is not None else ""
    groups = (path[:length] for length in range(len(path), 0, -1))
    origin = next((f" ({origins[group]})" for group in groups if group in origins), "")
    return f"{dotted(path)}{origin}: {problem}"


def _did_you_mean(word: str, allowed: Iterable[str], *, elsewhere: bool = False) -> str:
    """Suggest the closest name, or else the paths of a key that stands in another group."""
    close = difflib.get_close_matches(word, list(allowed), n=1)
    if elsewhere and not close:
        close = [entry.path for entry in entries() if entry.path.rpartition(".")[2] == word]
    return f"; did you mean {' or '.join(map(repr, close))}? " if close else "; "


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
