"""The public API is what docs/api.md says, and changes only when somebody means it to."""

import doctest
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import omnial
from omnial import Inspector
from omnial.demo.production_line import generate
from tests.small_model import untrained
from tools import public_api

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# The page trains for half an hour.
LONG = 'size="lite", minutes=30'
SHORT = 'size="tiny", steps=1'
TINY = '"training.steps=1", "data.height=64", "data.width=64", "model.stem=4"'


def test_names_and_signatures_are_those_written_down() -> None:
    written = public_api.PAGE.read_text("utf-8").splitlines()
    assert public_api.text().splitlines() == written, (
        "The public API has changed. If that is meant: `make api`, a line in CHANGELOG.md, and a "
        "new version by the rules of Semantic Versioning."
    )


def test_a_removed_argument_would_show() -> None:
    lines = public_api.text().splitlines()
    for path in (*public_api.RETURNED, *public_api.ALIASES):
        assert any(path in line for line in lines), f"nothing is written down about {path}"
    (line,) = (line for line in lines if line.startswith("omnial.load_model("))
    assert line == (
        "omnial.load_model(folder: StrPath, device: str='auto', *, "
        "reading: Reading=AS_TRAINED) -> TrainedModel"
    )


def test_every_public_name_has_a_docstring() -> None:
    assert [one.text for one in public_api.entries() if one.docstring == ""] == []


def test_the_page_names_every_public_name() -> None:
    listed = re.findall(r"^\| `omnial\.(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(set(omnial.__all__) - {"__version__"})
    used = "".join(EXAMPLES)
    missing = [name for name in listed if f"omnial.{name}" not in used]
    assert missing == ["RunError"], "each has an example, but for what only a broken disk shows"


def pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with `parts` and `new_pictures/17.png`."""
    monkeypatch.chdir(folder)
    generate(Path("parts"), seed=1, classes=["gear"], size=64, train=6, test_good=1, per_kind=1)
    Path("new_pictures").mkdir()
    Image.open("parts/gear/test/good/000.png").save("new_pictures/17.png")


def test_the_examples_of_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, monkeypatch)
    entries = [(one.text, one.docstring or "") for one in public_api.entries()]
    found = [(text, docstring) for text, docstring in entries if ">>>" in docstring]
    # A model first, which the others need.
    found.sort(key=lambda item: not item[0].startswith("omnial.train("))
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    for text, docstring in found:
        runner.run(parser.get_doctest(docstring.replace(LONG, SHORT), {}, text, None, None))
    assert (runner.tries > 10, runner.failures) == (True, 0)
    names = {
        *("train", "evaluate", "predict", "load_model", "load_settings", "allow_code"),
        *("list_systems", "create_model"),
    }
    has = {text.split("(")[0] for text, _ in found}
    assert has == {*(f"omnial.{name}" for name in names), "class omnial.Inspector"}


def test_a_prompt_shows_names_and_short_texts() -> None:
    assert dir(omnial) == omnial.__all__
    found = Inspector.of(untrained(["gear"])).inspect(np.zeros((64, 64, 3), np.uint8))
    assert repr(Inspector.of(untrained(["gear"]))) == "<Inspector of gear, with torch>"
    assert re.fullmatch(r"<Inspection of .*: (good|anomalous), score .*>", repr(found))
    assert json.loads(json.dumps(found.to_dict()))["score"] == found.score


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path, monkeypatch)
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        short = example.replace(LONG, SHORT).replace('"training.minutes=30"', TINY)
        exec(short, names)

    assert names["summary"].n_images == 1
    assert Path("report/index.html").is_file()
    printed = capsys.readouterr().out
    assert "missing.png" in printed
    assert "does not know the class" in printed


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'inspect'"):
        omnial.inspect  # noqa: B018
