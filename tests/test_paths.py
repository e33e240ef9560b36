"""Paths as texts, as path objects, alone or in lists; other types fail at the call."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import omnial
from omnial.model_folder.weights_file import save_model
from tests.small_model import untrained


class Own:
    """A path of another library."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


FORMS = [Path, str, Own]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/nut`, and `model` that knows it."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    for name in [*(f"train/good/{n}" for n in range(5)), "test/good/0", "test/bent/0"]:
        path = folder / "data" / "nut" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    save_model(folder / "model", untrained(["nut"]))
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alone", [True, False])
def test_every_form_of_path(place: Path, tmp_path: Path, form: Any, alone: bool) -> None:
    data = form(place / "data") if alone else [form(place / "data")]
    file = tmp_path / "settings.yaml"
    file.write_text("training: {steps: 1, batch_size: 2, precision: fp32}", "utf-8")
    small = ["data.height=32", "data.width=32", "model.stem=4"]
    settings = omnial.load_settings(size="tiny", config_file=form(file), overrides=small)
    summary = omnial.train(data, form(tmp_path / "new"), settings, progress=False)
    assert summary.classes == ["nut"]
    assert omnial.load_model(form(tmp_path / "new"), "cpu").classes == ("nut",)
    result = omnial.evaluate(form(place / "model"), data, form(tmp_path / "report"))
    assert [product.name for product in result.classes] == ["nut"]
    inspector = omnial.Inspector(form(place / "model"))
    found = omnial.predict(inspector, data, out=form(tmp_path / "out"))
    assert (found.n_images, found.errors) == (7, [])
    picture = place / "data/nut/test/good/0.png"
    one = inspector.inspect(form(picture))
    assert one.path == picture
    assert [each.score for each in inspector.inspect([form(picture)])] == [one.score]


def test_one_override_alone() -> None:
    assert omnial.load_settings(overrides="training.steps=3").training.steps == 3


def test_init_in_every_form(place: Path, tmp_path: Path) -> None:
    with pytest.raises(omnial.UserError, match="its network differs"):
        omnial.train(
            str(place / "data"),
            str(tmp_path / "new"),
            size="tiny",
            steps=1,
            init=str(place / "model"),
            progress=False,
        )


CALLS: dict[str, Callable[[Any, Path, Path], object]] = {
    "config_file": lambda wrong, place, out: omnial.load_settings(config_file=wrong),
    "settings": lambda wrong, place, out: omnial.train(place / "data", out, wrong),
    "out": lambda wrong, place, out: omnial.train(place / "data", wrong, TINY),
    "init": lambda wrong, place, out: omnial.train(place / "data", out, TINY, init=wrong),
    "data": lambda wrong, place, out: omnial.train(wrong, out, TINY),
    "each of data": lambda wrong, place, out: omnial.train(["data", wrong], out, TINY),
    "model": lambda wrong, place, out: omnial.evaluate(wrong, place / "data", out),
    "out ": lambda wrong, place, out: omnial.evaluate(place / "model", place / "data", wrong),
    "roots ": lambda wrong, place, out: omnial.evaluate(place / "model", wrong, out),
    "folder": lambda wrong, place, out: omnial.load_model(wrong),
    "folder ": lambda wrong, place, out: omnial.Inspector(wrong),
    "model ": lambda wrong, place, out: omnial.Inspector.of(wrong),
    "inspector": lambda wrong, place, out: omnial.predict(wrong, place / "data", out=out),
    "paths": lambda wrong, place, out: omnial.predict(known(place), wrong, out=out),
    "each of paths": lambda wrong, place, out: omnial.predict(known(place), [wrong], out=out),
    "source": lambda wrong, place, out: known(place).inspect(wrong),
    "a picture": lambda wrong, place, out: list(known(place).inspect([wrong])),
}
TINY = omnial.load_settings(size="tiny")


def known(place: Path) -> omnial.Inspector:
    return omnial.Inspector(place / "model")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrong", [3, b"data", 2.5, object()])
def test_wrong_types_fail_at_the_call(place: Path, tmp_path: Path, name: str, wrong: Any) -> None:
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"^{name.strip()} is .*, not {kind}$"):
        CALLS[name](wrong, place, tmp_path / "out")
    assert not os.listdir(tmp_path)


def test_other_wrong_arguments_fail_at_the_call(place: Path) -> None:
    with pytest.raises(TypeError, match="an override is a text"):
        omnial.load_settings(overrides=[3])  # type: ignore[list-item]
    with pytest.raises(omnial.UserError, match="does not know the class"):
        known(place).inspect(["1.png"], "bolt")


def test_a_name_that_does_not_exist_is_named_whole(tmp_path: Path) -> None:
    with pytest.raises(omnial.UserError, match="parts"):
        omnial.train("parts", Path(tmp_path / "m"), size="tiny", progress=False)


def test_settings_and_words_for_them_are_refused(tmp_path: Path) -> None:
    for words in ({"size": "tiny"}, {"minutes": 1.0}, {"seed": 0}):
        with pytest.raises(TypeError, match="not both"):
            omnial.train("parts", tmp_path / "m", TINY, **words)
    with pytest.raises(omnial.UserError, match="one budget only"):
        omnial.train("parts", tmp_path / "m", minutes=1, steps=3)
