"""YAML: plain data or a refusal, whatever is in the file."""

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from omnial.config.load import MAX_CHARACTERS, parse_yaml

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdefgh", min_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


@settings(max_examples=40)
@given(plain)
def test_reads_what_a_dumper_wrote(value: object) -> None:
    # The key "no" and the like are booleans in YAML 1.1; a dumper quotes them.
    assert parse_yaml(yaml.dump(value, Dumper=_NoAliases)) == value


@given(st.text(max_size=60) | st.text("{}[]:,-&*!|>'\"#%@ \n\t01e.ab", max_size=60))
def test_any_text_is_data_or_a_value_error(text: str) -> None:
    # Any other exception fails the test.
    with contextlib.suppress(ValueError):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("-2E3", -2000.0), ("1.5e-3", 1.5e-3), ("12", 12)]
)
def test_numbers_with_exponents_are_numbers(text: str, value: float) -> None:
    parsed = parse_yaml(text)

    assert parsed == value
    assert not isinstance(parsed, str)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3.*'a' is given twice"),
        ("a: {b: 1, b: 1}", "'b' is given twice"),
        ("1: a", "1 is not text"),
        ("on: a", "True is not text"),
        ("a: &x 1\nb: *x\n", "line 2.*alias"),
        ("!!python/object/apply:os.getcwd []", "tag"),
        ("a: [1, 2", "line 1"),
        ("a: 1\n---\nb: 2\n", "document"),
        ("[" * 200_000, "levels deep"),
        ("a" * (MAX_CHARACTERS + 1), "characters"),
        ("a: 2020-13-45", "."),
        ("a: \x00", "."),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_yaml(text)


def test_nested_aliases_cost_nothing() -> None:
    bomb = 'a: &a ["x","x"]\n' + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )

    with pytest.raises(ValueError, match="alias"):
        parse_yaml(bomb)
