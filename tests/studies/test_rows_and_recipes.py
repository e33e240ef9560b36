"""The studies' rows, and the recipes of the published rows: loadable, consistent, trainable."""

import re
from pathlib import Path

import pytest

from omnial.config.load import load_settings
from omnial.config.presets import RECIPES, SYSTEMS
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.model_folder.weights_file import load_model
from omnial.studies.study_rows import COMPARED, STUDIES, Row
from omnial.training.fit import train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")

ROWS = [(study.name, row) for study in STUDIES.values() for row in study.rows]
PUBLISHED = re.compile(r"in percent: ([\d.]+) / ([\d.]+) / ([\d.]+)")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "data"
    generate(folder, seed=2, classes=CLASS_NAMES[:2], size=64, train=6, test_good=1, per_kind=1)
    return folder


@pytest.mark.parametrize(("study", "row"), ROWS, ids=[f"{s}-{r.name}" for s, r in ROWS])
def test_every_row_is_a_system_with_settings_that_hold(study: str, row: Row) -> None:
    assert row.system in SYSTEMS
    assert re.fullmatch(r"[a-z0-9_-]+", row.name)
    for size in ("paper", "lite", "tiny"):
        load_settings(system=row.system, size=size, overrides=row.overrides)
    assert set(row.published) in (set(), set(COMPARED))
    if STUDIES[study].axis:
        float(row.label)


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_the_rows_of_a_study_have_names_of_their_own(study: object) -> None:
    names = [row.name for row in study.rows]  # type: ignore[attr-defined]
    assert len(set(names)) == len(names)


def test_every_published_row_has_its_recipe_with_the_same_figures() -> None:
    recipes = {}
    for path in RECIPES.values():
        found = PUBLISHED.search(path.read_text("utf-8"))
        if found is not None:
            settings = load_settings(config_file=path)
            balance = settings.model.localization.balance
            recipes[settings.system, balance, "separate" in path.stem] = tuple(
                map(float, found.groups())
            )
    for _, row in ROWS:
        if not row.published:
            continue
        balance = load_settings(
            system=row.system, overrides=row.overrides
        ).model.localization.balance
        figures = tuple(row.published[metric] for metric in COMPARED)
        assert recipes[row.system, balance, row.separate] == figures, row.name


@pytest.mark.parametrize("path", RECIPES.values(), ids=RECIPES)
def test_a_recipe_is_the_published_network_and_follows_the_publication(path: Path) -> None:
    settings = load_settings(config_file=path)
    assert settings.size == "paper"
    assert settings.model.stem == 1
    assert settings.model.reconstruction.widths == (128, 256, 512, 1024, 1024)
    assert settings.model.localization.widths == (64, 128, 256, 512, 512, 512)
    assert not settings.synthesis.match_colour
    assert settings.training.learning_rate == 1e-4
    # The command in the comment names the file that it stands in.
    assert f"--config {path.stem} " in path.read_text("utf-8")


def networks() -> list[Path]:
    """Of recipes whose networks have the same layers the first."""
    first: dict[tuple[str, bool], Path] = {}
    for path in RECIPES.values():
        model = load_settings(config_file=path).model
        layers = model.model_dump_json(exclude={"localization": {"balance"}})
        # A balance of 0 leaves a path out; how large another is changes no layer.
        first.setdefault((layers, model.localization.balance > 0), path)
    return list(first.values())


@pytest.mark.parametrize("path", networks(), ids=lambda path: path.stem)
def test_a_recipe_trains_two_steps_at_a_tiny_width(path: Path, data: Path, tmp_path: Path) -> None:
    settings = load_settings(
        config_file=path,
        overrides=[
            "data.height=64",
            "data.width=64",
            "model.reconstruction.widths=[4,6,8,8]",
            "model.localization.widths=[4,6,8,8]",
            "training.batch_size=2",
            "training.steps=2",
        ],
    )
    summary = train(settings, [data], tmp_path / "model", progress=False)
    assert summary.steps == 2
    assert load_model(tmp_path / "model").settings == settings
