"""Validation figures as a model folder holds them, and in words."""

from typing import Any

import pytest

from omnial.model_folder.validation_figures import NAMES, ValidationFigures, in_words


def figures(**values: float | None) -> dict[str, float | None]:
    return dict.fromkeys(NAMES) | values


def test_the_mean_is_over_the_classes_that_have_the_figure() -> None:
    found = ValidationFigures.over(
        {"a": figures(psnr=20.0, erased=0.2), "b": figures(psnr=30.0), "c": figures()}
    )
    assert found.mean == figures(psnr=25.0, erased=0.2)


def test_what_a_folder_holds_is_read() -> None:
    held = {"classes": {"a": figures(psnr=20.0)}, "mean": figures(psnr=20)}
    found = ValidationFigures.of_training({"seed": 0, "validation": held})
    assert found == ValidationFigures.over({"a": figures(psnr=20.0)})


@pytest.mark.parametrize(
    "held",
    [
        None,
        {"image_auroc": 0.9, "pixel_ap": 0.5, "recognised": 1.0},  # by an earlier version
        {"classes": [], "mean": {}},
        {"classes": {"a": {"psnr": "30"}}, "mean": {}},
        {"classes": {"a": 3}, "mean": {}},
        "27 dB",
    ],
)
def test_anything_else_is_no_figures(held: Any) -> None:
    assert ValidationFigures.of_training({"validation": held}) is None
    assert ValidationFigures.of_training({}) is None


@pytest.mark.parametrize(
    ("psnr", "erased", "said", "unsaid"),
    [
        (27.9, 0.71, "sharply (27.9 dB) and removes 71 % of a drawn defect", "copies"),
        (22.9, 0.71, "not yet sharply (22.9 dB) and removes 71 %", "copies"),
        (32.0, 0.23, "sharply (32.0 dB) but copies the defect: it removes 23 %", "flat"),
        (32.0, -0.5, "copies the defect: it removes 0 %", "flat"),
        (15.6, 0.21, "still a flat image (15.6 dB): train longer", "copies"),
        (27.9, None, "sharply (27.9 dB)", "defect"),
    ],
)
def test_both_figures_together_are_put_into_words(
    psnr: float, erased: float | None, said: str, unsaid: str
) -> None:
    words = in_words({"psnr": psnr, "erased": erased})
    assert words is not None
    assert said in words
    assert unsaid not in words
    assert words.startswith("the reconstruction ")


def test_without_psnr_there_is_nothing_to_say() -> None:
    assert in_words({"psnr": None, "erased": 0.7}) is None
    assert in_words({}) is None
