"""YAML as plain data: no duplicate keys, no aliases, no tags, no surprises in size."""

import re
from typing import Final

import yaml

MAX_CHARACTERS: Final = 1_000_000
MAX_DEPTH: Final = 32
_TAGGED: Final = (yaml.ScalarEvent, yaml.CollectionStartEvent)


class _Loader(yaml.SafeLoader):
    """`SafeLoader` that refuses duplicate keys and reads `1e-4` as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Build a dictionary, after a look at its keys.

        Raises:
            yaml.MarkedYAMLError: a key is repeated or is not text.
        """
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1, which PyYAML reads, wants a dot in every number with an exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse(text: str) -> object:
    """Parse one YAML document into dictionaries with text keys, lists and scalars.

    Raises:
        ValueError: the text is not YAML, or uses what is refused here: duplicate keys, keys
            that are not text, aliases, tags, more than 32 levels, more than a million characters.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"more than {MAX_CHARACTERS:,} characters")
    try:
        _refuse_tricks(text)
        # A subclass of SafeLoader: it builds plain data only.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _refuse_tricks(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            problem = f"alias *{event.anchor} is not supported: write the value out"
        elif isinstance(event, _TAGGED) and event.tag is not None:
            problem = f"tag {event.tag} is not supported"
        elif depth > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} levels deep"
        else:
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            continue
        mark = event.start_mark
        raise ValueError(f"line {mark.line + 1}: {problem}" if mark else problem)
