"""Settings from layers: who wins, and what is said about mistakes."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from omnial.config.load import load_settings
from omnial.config.presets import RECIPES, SIZES, SYSTEMS
from omnial.config.reference import entries, schema_at
from omnial.config.settings import Settings
from omnial.errors import UserError

PATHS = [entry.path for entry in entries() if "." in entry.path]


def path_parts(path: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() else part for part in path.split("."))


def value_at(settings: Settings, path: str) -> object:
    node: object = settings.model_dump(mode="json")
    for part in path_parts(path):
        node = node[part]  # type: ignore[index]  # a dictionary or a list, as the path says
    return node


def write(folder: Path, content: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def refusal(*overrides: str, config_file: Path | str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_settings(overrides=overrides, config_file=config_file)
    return str(caught.value)


def number_ranges() -> dict[str, tuple[bool, float, float]]:
    """Path -> (whole, lowest, highest) for settings with two closed bounds."""
    ranges = {}
    for path in PATHS:
        schema = schema_at(path_parts(path))
        assert schema is not None
        if "minimum" in schema and "maximum" in schema:
            ranges[path] = (schema["type"] == "integer", schema["minimum"], schema["maximum"])
    return ranges


RANGES = number_ranges()


class TestLayers:
    def test_file_over_size_and_overrides_over_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"training": {"batch_size": 3, "seed": 5}, "size": "tiny"})

        settings = load_settings(config_file=file, overrides=["training.seed=7"])

        assert settings.size == "tiny"
        assert settings.data.height == 128
        assert (settings.training.batch_size, settings.training.seed) == (3, 7)

    def test_system_over_size(self) -> None:
        settings = load_settings(system="omnial-no-panels", size="tiny")

        assert settings.data.height == 128
        assert not settings.synthesis.panels

    def test_command_line_names_win_over_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"system": "surrogate", "size": "tiny"})

        assert load_settings(config_file=file).system == "surrogate"
        assert load_settings(config_file=file, system="omnial").system == "omnial"
        assert load_settings(config_file=file, overrides=["size=base"]).model.stem == 2

    def test_two_names_on_the_command_line(self) -> None:
        with pytest.raises(UserError, match="one of the two"):
            load_settings(size="base", overrides=["size=tiny"])

    def test_last_override_wins(self) -> None:
        settings = load_settings(overrides=["training.seed=1", "training.seed=2"])

        assert settings.training.seed == 2

    def test_a_budget_replaces_the_one_below(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"training": {"minutes": 30}})

        training = load_settings(config_file=file, overrides=["training.steps=5"]).training

        assert (training.minutes, training.images, training.steps) == (None, None, 5)

    def test_two_budgets_in_one_layer(self) -> None:
        assert "one budget only" in refusal("training.steps=5", "training.minutes=1")

    def test_empty_file(self, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        file.write_text("# nothing yet\n", "utf-8")

        assert load_settings(config_file=file) == load_settings()

    def test_an_empty_group(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"model": {"reconstruction": {}}, "training": {}})

        assert load_settings(config_file=file) == load_settings()
        for unknown in ({"modle": {}}, {"training": {"seed": {}}}):
            assert str(*unknown) in refusal(config_file=write(tmp_path, unknown))

    def test_places_in_lists(self) -> None:
        settings = load_settings(overrides=["synthesis.levels.1.blur=7"])

        assert [level.blur for level in settings.synthesis.levels] == [1, 7, 5]

    def test_presets_stay_as_they_are(self) -> None:
        before = repr((dict(SIZES), dict(SYSTEMS)))

        load_settings(size="tiny", overrides=["model.reconstruction.widths.0=9", "model.stem=2"])

        assert repr((dict(SIZES), dict(SYSTEMS))) == before


class TestNames:
    def test_in_any_case(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"system": "DRAEM", "size": "TINY"})

        assert load_settings(config_file=file) == load_settings(system="draem", size="tiny")
        assert load_settings(size="Tiny", overrides=["size=tINY"]) == load_settings(size="tiny")

    def test_a_recipe(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "draem").write_text("seed: no recipe\n", "utf-8")

        for name, path in RECIPES.items():
            assert load_settings(config_file=name) == load_settings(config_file=path)
        assert load_settings(config_file="draem").system == "draem"
        assert "seed (in ./draem): unknown" in refusal(config_file="./draem")

    def test_a_wrong_recipe(self) -> None:
        message = refusal(config_file="omnail-ca")

        assert "did you mean 'omnial-ca'?" in message
        assert ", ".join(RECIPES) in message


class TestNumbers:
    @given(st.sampled_from(sorted(RANGES)), st.data())
    def test_inside_the_range(self, path: str, data: st.DataObject) -> None:
        whole, low, high = RANGES[path]
        numbers = st.integers(int(low), int(high)) if whole else st.floats(low, high)
        number = data.draw(numbers.filter(lambda n: not path.endswith("blur") or n % 2 == 1))

        settings = load_settings(overrides=[f"{path}={number!r}"])

        assert value_at(settings, path) == number

    @given(st.sampled_from(sorted(RANGES)), st.integers(1, 10**6), st.booleans())
    def test_outside_the_range(self, path: str, beyond: int, above: bool) -> None:
        _, low, high = RANGES[path]
        number = high + beyond if above else low - beyond

        message = refusal(f"{path}={number:.0f}")

        assert path in message
        assert f"{number:.0f}" in message
        assert f"from {low:g} to {high:g}" in message


class TestRefusals:
    @pytest.mark.parametrize("path", PATHS)
    def test_a_mapping_is_no_value(self, path: str) -> None:
        message = refusal(f"{path}={{unknown_key: 1}}")

        assert path in message

    @pytest.mark.parametrize("path", PATHS)
    def test_true_is_no_number_and_a_number_no_truth(self, path: str) -> None:
        schema = schema_at(path_parts(path))
        assert schema is not None
        wrong = "1" if schema.get("type") == "boolean" else "true"

        assert path in refusal(f"{path}={wrong}")

    @pytest.mark.parametrize(
        ("override", "parts"),
        [
            ("training.batchsize=3", ["training.batchsize", "unknown", "'batch_size'"]),
            ("batch_size=3", ["batch_size", "'training.batch_size'"]),
            ("modle.stem=2", ["modle", "'model'", "synthesis"]),
            ("model.stem=3", ["model.stem", "3", "1, 2, 4, 8"]),
            ("model.reconstruction.norm=layer", ["layer", "instance, batch"]),
            ("model.reconstruction.widths=16", ["widths", "16", "to 6 values", "whole number"]),
            ("synthesis.panel_span=[0.1, 2]", ["synthesis.panel_span.1", "2", "from 0 to 1"]),
            ("synthesis.levels.0.beta=[1, 0]", ["synthesis.levels.0", "rising"]),
            (f"synthesis.levels.{'0' * 5000}.blur=1", ["list of 3"]),
            ("synthesis.levels.9.blur=1", ["synthesis.levels", "list of 3", "0 to 2"]),
            ("training.seed.x=1", ["training.seed", "without parts"]),
            ("training.learning_rate=.nan", ["training.learning_rate", "above 0"]),
            ("training.learning_rate=.inf", ["training.learning_rate", "above 0"]),
            ("training=3", ["training", "a group of settings", "batch_size"]),
            ("training.seed", ["key=value"]),
            ("=3", ["key=value"]),
            ("training..seed=3", ["key=value"]),
            ("training.seed=[1", ["training.seed=[1", "not YAML"]),
            ("size=huge", ["huge", "paper, base, lite, tiny"]),
            ("size=3", ["3", "paper, base, lite, tiny"]),
            ("system=omnail", ["did you mean 'omnial'?", "surrogate"]),
        ],
    )
    def test_message(self, override: str, parts: list[str]) -> None:
        message = refusal(override)

        assert [part for part in parts if part not in message] == []

    def test_all_mistakes_at_once_and_where_they_are(self, tmp_path: Path) -> None:
        file = write(tmp_path, {"data": {"geometry": "sqash", "hight": 5}})

        message = refusal("model.stem=5", config_file=file)

        assert "3 settings" in message
        assert f"data.geometry (in {file})" in message
        assert "did you mean 'height'?" in message
        assert "model.stem (from the command line)" in message

    def test_files_that_are_no_settings(self, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        for content, reason in [
            (b"- 1\n- 2\n", "not a list"),
            (b"just text", "just text"),
            (b"a: 1\na: 2\n", "given twice"),
            (b"\xff\xfe\x00", "UTF-8"),
        ]:
            file.write_bytes(content)
            message = refusal(config_file=file)
            assert str(file) in message
            assert reason in message
        for path in (tmp_path / "missing.yaml", tmp_path):
            assert str(path) in refusal(config_file=path)


@given(
    st.sampled_from(PATHS) | st.text("abc._0", max_size=12),
    st.text("0123456789-.eE[]{}:,truefalsn ~'\"&*!", max_size=16),
)
def test_any_override_is_taken_or_refused(key: str, value: str) -> None:
    try:
        settings = load_settings(overrides=[f"{key}={value}"])
    except UserError:
        return
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
