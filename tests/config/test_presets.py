"""Systems and sizes: every combination is valid, and says what it stands for."""

import pytest

from omnial.config.load import load_settings
from omnial.config.presets import DEFAULT_SIZE, DEFAULT_SYSTEM, SIZES, SYSTEMS
from omnial.config.settings import Settings


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_is_valid_at_every_size(system: str, size: str) -> None:
    settings = load_settings(system=system, size=size)

    assert (settings.system, settings.size) == (system, size)
    deepest = max(
        len(settings.model.reconstruction.widths), len(settings.model.localization.widths)
    )
    smallest = min(settings.data.height, settings.data.width) // settings.model.stem
    # The deepest scale must keep at least two pixels a side, else its norm has nothing to do.
    assert smallest >> (deepest - 1) >= 2


def test_paper_is_the_published_network() -> None:
    paper, defaults = load_settings(size="paper"), Settings()

    assert paper.model == defaults.model
    assert paper.model.reconstruction.widths == (128, 256, 512, 1024, 1024)
    assert paper.model.localization.widths == (64, 128, 256, 512, 512, 512)
    assert (paper.training.batch_size, paper.training.learning_rate) == (20, 1e-4)


def test_defaults_are_omnial_at_lite() -> None:
    settings = load_settings()

    assert (settings.system, settings.size) == (DEFAULT_SYSTEM, DEFAULT_SIZE) == ("omnial", "lite")
    assert settings == load_settings(system="omnial", size="lite")


def test_default_size_of_a_verb() -> None:
    assert load_settings(default_size="paper").size == "paper"
    assert load_settings(size="tiny", default_size="paper").size == "tiny"


@pytest.mark.parametrize("size", SIZES)
def test_no_two_systems_are_the_same(size: str) -> None:
    seen = {
        load_settings(system=name, size=size).model_copy(update={"system": ""}).model_dump_json()
        for name in SYSTEMS
    }

    assert len(seen) == len(SYSTEMS)


def test_surrogate_has_none_of_what_omnial_adds() -> None:
    settings = load_settings(system="surrogate", size="paper")
    networks = (settings.model.reconstruction, settings.model.localization)

    assert not settings.synthesis.panels
    assert not settings.model.localization.diffneck
    assert {network.norm for network in networks} == {"batch"}
    assert {network.attention for network in networks} == {"ca"}
    assert {network.dilation for network in networks} == {1}


@pytest.mark.parametrize("attention", ["ca", "resblock", "bottleneck"])
def test_attention_ablations_change_both_networks_only_there(attention: str) -> None:
    changed = load_settings(system=f"omnial-{attention}", size="base").model
    plain = load_settings(size="base").model
    restored = plain.model_copy(
        update={
            "reconstruction": changed.reconstruction.model_copy(update={"attention": "dcsa"}),
            "localization": changed.localization.model_copy(update={"attention": "dcsa"}),
        }
    )

    assert changed.reconstruction.attention == changed.localization.attention == attention
    assert restored == plain
