"""From names, a file and command-line overrides to validated `Settings`."""

import copy
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from omnial.config.own_code import allow_code, load_own, name_code
from omnial.config.presets import DEFAULT_SIZE, DEFAULT_SYSTEM, RECIPES, SIZES, SYSTEMS, Preset
from omnial.config.reference import describe, dotted, entries, schema_at
from omnial.config.settings import IMPORT_PATH, Settings, is_own
from omnial.errors import UserError
from omnial.files import StrPath, as_path

SettingPath: TypeAlias = tuple[str | int, ...]

MAX_CHARACTERS: Final = 1_000_000
"""Of a YAML text."""
_BUDGETS: Final = ("minutes", "images", "steps")


class _Override(NamedTuple):
    """A value laid over those below it, and where it stands; empty for a preset."""

    keys: tuple[str, ...]
    value: object
    origin: str


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
        system: name from `SYSTEMS`, or import path of such a mapping of your own; None takes the
            file's, else `omnial`.
        size: name from `SIZES`, in any case; None takes the file's, else `default_size`.
        config_file: YAML file with settings, nested as `Settings` is, or a name from `RECIPES`.
        overrides: `a.b=value`, each value read as YAML; list positions are numbers, as in
            `synthesis.levels.0.blur=3`.
        default_size: the size where nothing names one.

    Raises:
        UserError: an unreadable file, an unknown name or key, an impossible value; the message
            names the setting's path, where the value stands, and what is allowed.
        TypeError: an argument is of another kind.

    Example:
        >>> import omnial
        >>> settings = omnial.load_settings(size="base", overrides=["training.batch_size=8"])
        >>> settings.size, settings.training.batch_size
        ('base', 8)
    """
    from_file = {} if config_file is None else _read_file(_find(config_file))
    texts = [overrides] if isinstance(overrides, str) else list(overrides)
    parsed = [_parse_override(text) for text in texts]
    chosen_system = _choose("system", system, parsed, from_file, DEFAULT_SYSTEM, SYSTEMS)
    chosen_size = _choose("size", size, parsed, from_file, default_size, SIZES)

    tree: dict[str, Any] = Settings().model_dump(mode="json")
    # A copy: overrides write into the tree, also into the lists of a preset.
    own = _own_system(chosen_system) if is_own(chosen_system) else SYSTEMS[chosen_system]
    preset = copy.deepcopy({**SIZES[chosen_size], **own})
    origins: dict[SettingPath, str] = {}
    for layer in (
        [_Override(tuple(path.split(".")), value, "") for path, value in preset.items()],
        list(_leaves(from_file, f"in {config_file}")),
        parsed,
    ):
        given = {override.keys for override in layer if override.value is not None}
        if given & {("training", key) for key in _BUDGETS} and isinstance(tree["training"], dict):
            tree["training"] |= dict.fromkeys(_BUDGETS)
        for override in layer:
            if override.value == {} and (schema_at(override.keys) or {}).get("type") == "object":
                continue  # an empty group says nothing
            changed = _apply(tree, override)
            origins |= {changed[:n]: override.origin for n in range(1, len(changed) + 1)}
    tree |= {"system": chosen_system, "size": chosen_size}
    try:
        # As JSON, in which a list may be a tuple but `true` is no number.
        settings = Settings.model_validate_json(json.dumps(tree, default=str), strict=True)
        name_code(settings)
        return settings
    except ValidationError as error:
        lines = [_explain(detail, origins) for detail in error.errors(include_url=False)]
    if len(lines) > 1:
        lines.insert(0, f"{len(lines)} settings are not usable:")
    raise UserError("\n  ".join(lines))


def _find(config_file: StrPath) -> Path:
    """The file of settings with this path, or of the recipe with this name."""
    if isinstance(config_file, str) and config_file in RECIPES:
        return RECIPES[config_file]
    path = as_path(config_file, "config_file")
    if path.name == str(config_file) and not path.suffix and not path.exists():
        hint = _did_you_mean(path.name, RECIPES)
        raise UserError(
            f"--config {path}: there is no such file or recipe{hint}recipes are "
            f"{', '.join(RECIPES)}"
        )
    return path


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            content = parse_yaml(file.read(MAX_CHARACTERS + 1))
    except OSError as error:
        raise UserError(f"cannot read the configuration file {path}: {error.strerror}") from error
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
        return _Override(keys, parse_yaml(value), "from the command line")
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
    set_values = [_lower(override.value) for override in overrides if override.keys == (key,)]
    if argument is not None and any(value != _lower(argument) for value in set_values):
        raise UserError(f"--{key} {argument} and --set {key}={set_values[-1]}: give one of the two")
    candidates = [_lower(argument), *reversed(set_values), _lower(from_file.get(key)), default]
    name = next(value for value in candidates if value is not None)
    if key == "system" and isinstance(name, str) and re.fullmatch(IMPORT_PATH, name):
        return name
    if not isinstance(name, str) or name not in allowed:
        hint = _did_you_mean(str(name), allowed)
        raise UserError(f"{key}: {name!r} is unknown{hint}allowed are {', '.join(allowed)}")
    return name


def _lower(name: object) -> object:
    """Names are understood in any case; import paths have one of their own."""
    return name.lower() if isinstance(name, str) and not is_own(name) else name


def _own_system(path: str) -> Preset:
    """A mapping of settings that the user named by its import path."""
    allow_code(path)
    system = load_own(path)
    if not isinstance(system, Mapping) or not all(isinstance(key, str) for key in system):
        raise UserError(
            f'{path} must be a dictionary of settings, such as {{"model.stem": 2}}, not a '
            f"{type(system).__name__}"
        )
    return system


def _leaves(
    group: Mapping[str, Any], origin: str, above: tuple[str, ...] = ()
) -> Iterator[_Override]:
    for key, value in group.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, origin, (*above, key))
        else:
            yield _Override((*above, key), value, origin)


def _apply(tree: dict[str, Any], override: _Override) -> SettingPath:
    """Set one value and return its path, with list positions as numbers."""
    where = f"{dotted(override.keys)} ({override.origin})"
    path: SettingPath = ()
    node: Any = tree
    for number, key in enumerate(override.keys, start=1):
        step: str | int = key
        if isinstance(node, list):
            if key not in map(str, range(len(node))):
                raise UserError(
                    f"{where}: {dotted(path)} is a list of {len(node)}, its positions are 0 to "
                    f"{len(node) - 1}, not {key!r}"
                )
            step = int(key)
        elif not isinstance(node, dict):
            raise UserError(f"{where}: {dotted(path)} is a value without parts")
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
    origin = next((f" ({origins[group]})" for group in groups if origins.get(group)), "")
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


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node that is no alias: nested aliases grow without end."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            problem = f"alias *{event.anchor} is not supported: write the value out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Build a dictionary whose keys are text and differ."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                problem = f"key {key!r} is {'given twice' if isinstance(key, str) else 'not text'}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1, which PyYAML reads, wants a dot in every number with an exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> object:
    """Parse one YAML document into dictionaries with text keys, lists and scalars.

    A ValueError says that the text is not such YAML, or longer than a million characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS:,} characters")
    try:
        # A subclass of SafeLoader: it builds plain data only.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except RecursionError as error:
        raise ValueError("too many levels deep") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from error
